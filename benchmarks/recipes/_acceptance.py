"""What the tests say of the checks that tests decide: a plugin of pytest that writes it down, and what reads it.

python -m pytest -p benchmarks.recipes._acceptance -m acceptance     with STILLROOM_ACCEPTANCE=FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Decided", "Listed", "decided", "listed", "verdicts"]

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
WHERE = "STILLROOM_ACCEPTANCE"


@dataclass(frozen=True)
class Listed:
    """A check as `checks.toml` has it: its id, the method it is of, and what it says."""

    id: str
    of: str
    says: str

    @property
    def by_test(self) -> bool:
        """Whether a test decides it, and no measurement."""
        return self.id.split()[1].startswith("D")


def listed() -> list[Listed]:
    """All checks there are."""
    found = tomllib.loads((HERE / "checks.toml").read_text(encoding="utf-8"))["check"]
    return [Listed(**each) for each in found]


@dataclass(frozen=True)
class Decided:
    """What the tests of one check say: `holds`, `fails`, `skipped` or `missing`; and which tests these are."""

    id: str
    verdict: str
    tests: Mapping[str, str]


def verdicts(outcomes: Mapping[str, Mapping[str, str]], checks: Iterable[Listed]) -> list[Decided]:
    """The verdict on each check that tests decide: it holds if it has tests and all of them passed.

    Args:
        outcomes: By id of a check, what became of each of its tests: passed, failed or skipped.
        checks: Those there are.
    """
    found = []
    for check in checks:
        if check.by_test:
            tests = outcomes.get(check.id, {})
            said = set(tests.values())
            verdict = (
                "fails" if "failed" in said else "skipped" if "skipped" in said else "holds" if said else "missing"
            )
            found.append(Decided(check.id, verdict, dict(tests)))
    return found


def decided(tests: Path | str = "tests") -> list[Decided]:
    """Run the acceptance tests and give the verdict on each check."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", __name__, "-m", "acceptance", str(tests)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, WHERE: str(out)}, stdout=sys.stderr, check=False)
        if not out.is_file():
            raise SystemExit(f"the acceptance tests could not be run: pytest ended with {done.returncode}")
        return verdicts(json.loads(out.read_text(encoding="utf-8")), listed())


# -- the plugin ----------------------------------------------------------------------

_outcomes: dict[str, dict[str, str]] = {}


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Let each test tell its checks."""
    for item in items:
        for mark in item.iter_markers("acceptance"):
            item.user_properties.append(("acceptance", mark.args[0]))


def pytest_runtest_logreport(report: Any) -> None:
    """Note what became of a test: the worst of its setup, its call and its teardown."""
    for name, id in report.user_properties:
        if name == "acceptance" and (report.when == "call" or report.outcome != "passed"):
            known = _outcomes.setdefault(id, {})
            if known.get(report.nodeid) != "failed":
                known[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    """Write it all down."""
    if WHERE in os.environ:
        Path(os.environ[WHERE]).write_text(json.dumps(_outcomes), encoding="utf-8")
