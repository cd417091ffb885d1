"""`stillroom retry`: what was quarantined is begun again, by the run's own folder or by the task file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_cli import write_task

from stillroom.errors import EngineRefused

pytestmark = pytest.mark.usefixtures("model")


@pytest.fixture
def lossy(cli, model, tmp_path: Path) -> Iterator[Path]:
    """A task whose emission lost rows to faults, of a size that options have set; the model is well again."""
    task = write_task(tmp_path, "recipe = st.recipes.labelled(per_label=4, attempts=1)")
    cli("compile", task)
    model(fail=lambda request: EngineRefused("too long") if (request.config.seed or 1) % 3 == 0 else None)
    told = cli("emit", task, "--per-label", 5, "--json").json
    assert told["written"] == 15
    assert told["fates"]["quarantined"] > 0
    model()
    return task


def test_what_was_lost_to_faults_is_tried_again_on_request(cli, model, tmp_path: Path):
    """A failed call costs its row and no other; `retry` begins the lost rows anew and nothing else."""
    task = write_task(tmp_path, "recipe = st.recipes.labelled(per_label=4, attempts=1)")
    cli("compile", task)
    model(fail=lambda request: EngineRefused("too long") if (request.config.seed or 1) % 3 == 0 else None)
    short = cli("emit", task, "--json").json
    lost = short["fates"]["quarantined"]
    assert short["written"] == 12
    assert "lost to faults (`stillroom retry RUN` tries them again)" in cli("emit", task).out
    model()
    told = cli("retry", task, "--json").json
    assert told["fates"]["quarantined"] == lost > 0
    assert told["written"] == 12 + lost
    assert told["accepted"] > short["accepted"]
    assert cli("emit", task, "--json").json["fates"] == told["fates"]


def test_a_run_knows_what_it_was_begun_with(cli, lossy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Its folder is enough, from wherever: the task file and the options of the command that began its rows."""
    run = Path("runs/topics").absolute()
    before = cli("emit", lossy, "--per-label", 5, "--json").json
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    told = cli("retry", run, "--json")
    assert told.json["command"] == "retry"
    assert told.json["run"] == str(run)
    assert told.json["written"] == 15 + before["fates"]["quarantined"]
    assert told.json["accepted"] > before["accepted"]
    assert not (tmp_path / "elsewhere/runs").exists()


def test_what_is_given_lies_over_what_was_noted(cli, lossy: Path, calls):
    """A budget that is full at once stops it; another size is another emission, which the run refuses."""
    paid = len(calls())
    told = cli("retry", "runs/topics", "--calls", 1)
    assert (told.code, len(calls())) == (4, paid)
    told = cli("retry", "runs/topics", "--per-label", 6)
    assert (told.code, "recipe was" in told.errors[0]) == (3, True)
    assert cli("retry", "runs/topics").code in {0, 6}


def test_a_command_that_began_no_rows_is_not_what_the_run_is_taken_up_with(cli, lossy: Path):
    """The first one counts, once rows stand; one that was refused changes nothing."""
    assert cli("emit", lossy, "--per-label", 7).code == 3
    assert cli("retry", "runs/topics", "--json").json["written"] > 15


def test_a_run_of_all_verbs_is_taken_up_as_well(cli, model, tmp_path: Path):
    """`stillroom run` begins rows too."""
    task = write_task(tmp_path, "recipe = st.recipes.labelled(per_label=4, attempts=1)")
    model(fail=lambda request: EngineRefused("no") if "You write" in str(request.system) else None)
    assert cli("run", task, "--trials", 1).code == 5  # every row of the first block
    model()
    assert cli("retry", "runs/topics", "--json").json["accepted"] > 0


def test_folders_that_cannot_be_taken_up_say_why(cli, lossy: Path, tmp_path: Path):
    """No run, a run without rows of a command, another run beside it, a task file that has moved."""
    empty = tmp_path / "empty"
    empty.mkdir()
    told = cli("retry", empty)
    assert (told.code, "must hold run.db" in told.errors[0]) == (2, True)
    told = cli("retry", tmp_path / "nowhere")
    assert (told.code, "the folder of a run" in told.errors[0]) == (2, True)
    told = cli("retry", "runs/topics", "--run", "other")
    assert (told.code, "one run" in told.errors[0]) == (2, True)
    cli("compile", lossy, "--run", "compiled")
    told = cli("retry", "compiled")
    assert (told.code, "got none in 'compiled'" in told.errors[0]) == (2, True)
    assert "stillroom retry TASK.py --run compiled" in told.errors[-1]
    moved = lossy.rename(lossy.with_name("moved.py"))
    told = cli("retry", "runs/topics")
    assert (told.code, str(lossy) in told.errors[0]) == (2, True)
    assert "stillroom retry TASK.py --run runs/topics" in told.errors[-1]
    assert cli("retry", moved, "--run", "runs/topics", "--per-label", 5).code in {0, 6}
