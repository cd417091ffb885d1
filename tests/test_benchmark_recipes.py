"""The harness of the recipes' acceptance checks: what counts as holding, and what is kept of a measurement."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks are found as `python -m` finds them."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def harness() -> ModuleType:
    """What `python -m benchmarks.recipes` runs."""
    return importlib.import_module("benchmarks.recipes.__main__")


@pytest.fixture
def acceptance() -> ModuleType:
    """What tests say of checks."""
    return importlib.import_module("benchmarks.recipes._acceptance")


@pytest.fixture
def check() -> ModuleType:
    """Checks as values."""
    return importlib.import_module("benchmarks.recipes._check")


def test_the_list_numbers_the_checks_of_each_section_and_kind_from_one(acceptance: ModuleType):
    """As tests and measurements name them; each id once."""
    numbers: dict[str, list[int]] = {}
    for check in acceptance.listed():
        section, kind, number = re.fullmatch(r"(2\.\d+) ([DM])(\d+)", check.id).groups()
        numbers.setdefault(section + kind, []).append(int(number))
        assert check.says
        assert check.of
    assert all(sorted(each) == list(range(1, len(each) + 1)) for each in numbers.values()), numbers
    assert Counter(each.by_test for each in acceptance.listed()) == {True: 62, False: 20}


def test_every_acceptance_mark_and_every_measured_check_is_of_the_list(harness: ModuleType, acceptance: ModuleType):
    """A number that is mistyped would be looked for in vain."""
    marked = {
        id for path in (ROOT / "tests").rglob("*.py") for id in re.findall(r'\.acceptance\("(.*?)"\)', path.read_text())
    }
    by_test = {each.id for each in acceptance.listed() if each.by_test}
    assert marked <= by_test
    assert set(harness.checks()) <= {each.id for each in acceptance.listed()} - by_test


def test_a_check_holds_if_it_has_tests_and_all_of_them_passed(acceptance: ModuleType):
    """One that was skipped, failed or is missing does not."""
    outcomes = {
        "2.1 D1": {"a": "passed", "b": "passed"},
        "2.1 D2": {"a": "passed", "b": "skipped"},
        "2.1 D3": {"a": "skipped", "b": "failed"},
    }
    found = {each.id: each.verdict for each in acceptance.verdicts(outcomes, acceptance.listed())}
    assert (found["2.1 D1"], found["2.1 D2"], found["2.1 D3"], found["2.2 D1"]) == (
        "holds", "skipped", "fails", "missing",
    )  # fmt: skip
    assert "2.1 M1" not in found


def test_the_plugin_tells_what_became_of_each_test_of_a_check(tmp_path: Path):
    """As pytest says it: the worst of setup, call and teardown; a test may be of several checks."""
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.acceptance('2.9 D9')\n@pytest.mark.parametrize('n', [1, 2])\ndef test_one(n): assert n == 1\n"
        "@pytest.fixture\ndef broken():\n    yield\n    raise ValueError\n"
        "@pytest.mark.acceptance('2.8 D8')\ndef test_two(broken): pass\n"
        "@pytest.mark.acceptance('2.7 D7')\ndef test_three(): pytest.skip('no data')\n"
        "@pytest.mark.acceptance('2.6 D6')\n@pytest.mark.acceptance('2.5 D5')\ndef test_four(): pass\n"
    )
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.recipes._acceptance", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", "-o", "markers=acceptance(id): x", "-c", "/dev/null", str(tmp_path)]
    env = {"STILLROOM_ACCEPTANCE": str(out), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False)
    found = {id: sorted(tests.values()) for id, tests in json.loads(out.read_text()).items()}
    assert found == {
        "2.9 D9": ["failed", "passed"],
        "2.8 D8": ["failed"],
        "2.7 D7": ["skipped"],
        "2.6 D6": ["passed"],
        "2.5 D5": ["passed"],
    }


def test_what_was_measured_is_kept_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], harness, check
):
    """With figure, threshold and verdict; a check that breaks is told, kept nowhere and costs no other check."""
    asked: list[Path] = []
    real, stored, goal = harness.measured, harness._stored, harness.Goal

    def good(models):
        asked.append(models.run)
        (models.run / "mark").write_text("x")
        return check.Measured({"share": 0.7}, 0.7, 0.6, ">=", 20, (goal("others", 0.2, 0.1, "<="),))

    def broken(models):
        raise ValueError("no such thing")

    known = {"2.1 M1": check.Check("2.1 M1", "broken", broken), "2.1 M2": check.Check("2.1 M2", "good", good)}
    monkeypatch.setattr(harness, "checks", lambda: known)
    results = tmp_path / "results"
    monkeypatch.setattr(harness, "measured", lambda each, runs: real(each, runs, results))
    monkeypatch.setattr(harness, "_stored", lambda name: stored(name, results))

    def run(*words: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["recipes", "--runs", str(tmp_path / "runs"), *words])
        harness.main()
        return json.loads(capsys.readouterr().out)

    for _ in range(2):
        told = run("bootstrap")
        assert [(each["name"], each["met"]) for each in told["goals"]] == [
            ("2.1 M1", False),
            ("2.1 M2", True),
            ("2.1 M2: others", False),
        ]
    assert "no such thing" in told["figures"]["2.1 M1"]["error"]
    assert asked == [tmp_path / "runs" / "2.1-M2"]
    assert [path.name for path in results.iterdir()] == ["2.1-M2.json"]
    kept = json.loads((results / "2.1-M2.json").read_text())
    assert (kept["value"], kept["threshold"], kept["direction"], kept["n"], kept["met"]) == (0.7, 0.6, ">=", 20, False)
    run("2.1-M2", "--again")
    assert len(asked) == 2


def test_a_figure_that_could_not_be_measured_is_not_met(check: ModuleType):
    """Whatever the threshold; and on the other side of it neither."""
    assert not check.Measured({}, None, 0.0).met
    assert check.Measured({}, 0.1, 0.2, "<=").met
    assert not check.Measured({}, 0.3, 0.2, "<=").met


@pytest.mark.parametrize("minutes", [None, 0.0])
def test_rows_of_a_recipe_are_kept_with_what_stopped_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None
):
    """Shortened papers, funnel and cost; where the time is up, what there is."""
    from proposing_world import NAME, Scripted, shelved

    rows = importlib.import_module("benchmarks.recipes._rows")
    shelved(monkeypatch)
    script = Scripted()
    script.lucky = 2
    record = rows.store_rows(NAME, script.engine(), 4, tmp_path / "run", tmp_path / "kept", minutes=minutes)
    assert json.loads((tmp_path / "kept" / f"{NAME}.json").read_text()) == record
    assert bool(record["ended"]) == (minutes is not None)
    if minutes is None:
        assert len(record["rows"]) == 4
        assert set(record["rows"][0]["values"]) == {"task", "reply"}
        assert set(record["rows"][0]["passport"]) == {"model", "licence", "calls", "tokens", "verdicts"}
        assert (
            record["rejects"]["length(task, 4..50)"]
            == {gate: stopped for gate, _, stopped in record["funnel"]}["length(task, 4..50)"]
        )
        assert record["cost"]["calls_per_row"] == pytest.approx(record["cost"]["calls"] / 4, abs=0.01)
    else:
        assert (record["rows"], record["cost"]["calls_per_row"]) == ([], None)


def test_what_gated_rows_say_stays_in_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from proposing_world import NAME, Scripted, shelved

    rows = importlib.import_module("benchmarks.recipes._rows")
    shelved(monkeypatch)
    script = Scripted()
    script.lucky = 2
    gated = replace(rows.preset(NAME), gated="rows are attacks")
    monkeypatch.setattr(rows, "preset", lambda name: gated)
    record = rows.store_rows(NAME, script.engine(), 2, tmp_path / "run", tmp_path / "kept")
    assert [each["values"] for each in record["rows"]] == [{}, {}]
    assert record["rejected"]
    assert all(each["values"] == {} for each in record["rejected"])
