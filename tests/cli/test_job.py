"""The task file with the options laid over it."""

from __future__ import annotations

from pathlib import Path

import pytest
import scripted_world as world
from scripted_cli import write_task

from stillroom.cli.job import Job, read_job
from stillroom.cli.parser import make_parser
from stillroom.cli.students import seats
from stillroom.ledger import Budget

pytestmark = pytest.mark.filterwarnings("ignore::stillroom.signatures.DataWarning")


def job(verb: str, task: Path, *words: object) -> Job:
    return read_job(make_parser().parse_args([verb, str(task), *map(str, words)]))


def test_without_options_the_file_decides(tmp_path: Path):
    """And what the file leaves out has its default."""
    plain = job("run", write_task(tmp_path, "lm = 'http://box/v1#m'\nbudget = st.Budget(calls=10)\n"))
    assert (plain.lm, plain.file_lm) == (None, "http://box/v1#m")
    assert plain.budget == Budget(calls=10)
    assert plain.run == Path("runs/topics")
    assert plain.settings.trials == 4
    assert plain.recipe.settings["per_label"] == 4
    assert plain.students == ("minilm+logreg",)
    assert plain.epochs is None
    assert plain.real == ()


def test_options_come_first(tmp_path: Path):
    """Each replaces its own part and leaves the rest."""
    task = write_task(tmp_path, "budget = st.Budget(calls=10, minutes=3)\nstudents = ['smollm2-135m+lora']\n")
    words = [
        "--calls",
        99,
        "--trials",
        7,
        "--seed",
        5,
        "--per-label",
        2,
        "--lm",
        "local/x",
        "--run",
        "here",
        "--epochs",
        2,
    ]
    changed = job("run", task, *words, "--student", "minilm+logreg")
    assert changed.budget == Budget(calls=99, minutes=3)
    assert (changed.settings.trials, changed.settings.seed, changed.settings.proposals) == (7, 5, 1)
    assert (changed.recipe.settings["per_label"], changed.recipe.seed) == (2, 5)
    assert (changed.lm, changed.run, changed.epochs) == ("local/x", Path("here"), 2)
    assert changed.students == ("minilm+logreg",)


def test_other_quotas_leave_the_recipe_as_it_is(tmp_path: Path):
    """Styles, temperature, attempts and the user's own `vary` stay."""
    more = """
def vary(outputs, rng):
    return outputs

recipe = st.recipes.varied(7, vary=vary, styles={"tone": ("plain",)}, temperature=0.5, attempts=9)
"""
    task = write_task(tmp_path, more)
    own, sized = job("emit", task).recipe, job("emit", task, "--n", 3).recipe
    assert dict(sized.settings) == {**own.settings, "n": 3}
    assert (sized.temperature, sized.attempts) == (0.5, 9)
    assert sized.draw.args[0].__name__ == "vary"


def test_quick_is_small_and_beside_the_real_run(tmp_path: Path):
    """The small model, few trials and rows, another folder; options still come first."""
    task = write_task(tmp_path, "lm = 'openai/big'\nsettings = st.Settings(trials=50)\nrecipe = None\n")
    quick = job("run", task, "--quick")
    assert quick.lm == "local/smollm2-135m"
    assert quick.run == Path("runs/topics-quick")
    assert quick.settings.trials == 8
    assert quick.recipe.settings["per_label"] == 5
    assert quick.students == ("minilm+logreg",)
    assert quick.epochs == 1
    assert job("run", task, "--quick", "--trials", 20, "--lm", "local/x").settings.trials == 20


def test_a_task_without_labels_gets_the_text_student(tmp_path: Path):
    """And the recipe that varies outputs."""
    task = tmp_path / "open.py"
    task.write_text(
        """
import stillroom as st

class Echo(st.Signature):
    '''Repeat the text.'''

    text: str = st.Input()
    same: str = st.Output()

rows = [{"text": f"text number {n}", "same": f"text number {n}"} for n in range(60)]
task = st.Task(Echo, data=rows, metric=st.exact("same"))
""",
        encoding="utf-8",
    )
    assert job("run", task).students == ("smollm2-135m+lora",)
    assert job("run", task).recipe.settings["n"] == 100
    assert job("run", task, "--quick").recipe.settings["n"] == 20


def test_real_rows_leave_out_the_test_split(tmp_path: Path):
    """A full-real student may see every real row but those it is judged on."""
    task = write_task(tmp_path, "real = Path(__file__).parent / 'rows.jsonl'\n")
    found = job("prove", task)
    assert len(found.real) == len(found.task.demos) + len(found.task.search)
    assert not {row.id for row in found.real} & {row.id for row in found.task.held_out}


def test_seats_are_in_the_order_of_comparison(tmp_path: Path):
    """Seed first; with two kinds, names say which."""
    task = write_task(tmp_path, "real = Path(__file__).parent / 'rows.jsonl'\n")
    assert [seat.name for seat in seats(job("prove", task))] == [
        "student (seed)",
        "student (seed + synthetic)",
        "student (real)",
    ]
    both = seats(job("distil", task, "--student", "minilm+logreg", "--student", "smollm2-135m+lora"), seed_only=True)
    assert [seat.name for seat in both] == ["student (seed, minilm+logreg)", "student (seed, smollm2-135m+lora)"]
    assert [seat.folder.name for seat in both] == ["minilm+logreg-seed", "smollm2-135m+lora-seed"]


def test_a_task_file_may_import_its_neighbours(tmp_path: Path):
    """As a script may."""
    (tmp_path / "neighbour_of_topics.py").write_text("LM = 'local/next-door'\n")
    found = job("compile", write_task(tmp_path, "from neighbour_of_topics import LM as lm\n"))
    assert found.file_lm == "local/next-door"
    assert len(found.task.demos) + len(found.task.search) + len(found.task.held_out) == len(world.rows(72))
