"""What may be written after `stillroom`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from stillroom.errors import BadConfig

__all__ = ["make_parser"]

CODES = (
    "exit codes: 0 done, 2 bad input, 3 run folder not usable, 4 budget full, 5 engine failed, "
    "6 fewer rows emitted or answered than wanted, 70 a bug, 130 stopped by Ctrl-C (run again to go on)"
)
KINDS = "minilm+logreg or smollm2-135m+lora"


class Parser(argparse.ArgumentParser):
    """Mistakes in options are `BadConfig`, told like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving the process."""
        raise BadConfig(f"{self.prog}: {message}", mend=f"See: {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. Its result names the module (`home`) and function (`verb`) to call."""
    parser = Parser(
        prog="stillroom",
        description="Declare a task, compile a program for it, emit rows, distil a student, prove what is better.",
        epilog=CODES,
    )
    parser.add_argument("--version", action=_Version)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=Parser)
    _compile(verbs)
    _emit(verbs)
    _answer(verbs)
    _retry(verbs)
    _distil(verbs)
    _prove(verbs)
    _run(verbs)
    _report(verbs)
    _export(verbs)
    _recipes(verbs)
    _sweep(verbs)
    _certify(verbs)
    _models(verbs)
    _salvage(verbs)
    _doctor(verbs)
    return parser


class _Version(argparse.Action):
    """Look the version up only when it is asked for: the look-up is slow."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        parser.exit(message=f"stillroom {version('stillroom')}\n")


def _verb(verbs: Any, name: str, help: str, home: str = "verbs") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    made.set_defaults(verb=name, home=home)
    made.add_argument("--json", action="store_true", help="write one JSON object at the end and nothing else")
    return made


def _task_verb(
    verbs: Any, name: str, help: str, *, of_run: bool = False, optional: bool = False
) -> argparse.ArgumentParser:
    made = _verb(verbs, name, help)
    text = "a Python file that defines `task`"
    if of_run:
        text = f"the folder of the run, which knows what it was begun with; or {text}"
    nargs: Any = "?" if optional else None
    made.add_argument("task", metavar="RUN or TASK.py" if of_run else "TASK.py", type=Path, nargs=nargs, help=text)
    made.add_argument("--run", type=Path, metavar="FOLDER", help="the run folder (default: runs/<name of the task>)")
    made.add_argument("--progress", action="store_true", help="draw progress bars even where there is no terminal")
    return made


def _lm(verb: argparse.ArgumentParser) -> None:
    text = "local/NAME, local/PATH.gguf, http://HOST:PORT/v1#MODEL, or a provider string such as openai/gpt-4o-mini"
    verb.add_argument("--lm", metavar="MODEL", help=text)


def _on(verb: argparse.ArgumentParser) -> None:
    text = "ask from the machines of a Ray cluster: ray (one on this machine, for this command), auto, HOST:PORT or ray://HOST:PORT"
    verb.add_argument("--on", metavar="CLUSTER", help=text)


def _licences(verb: Any) -> None:
    verb.add_argument(
        "--override",
        action="append",
        metavar="'LICENCE: WHO: WHY'",
        help="use a licence that forbids it on somebody's word, which is recorded; may be given again",
    )


def _lm_licence(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--lm-licence", metavar="NAME", help="licence of the model's weights, as an SPDX name, where it does not tell"
    )


def _budget(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("budget of each phase, over all its sessions")
    group.add_argument("--calls", type=int, metavar="N", help="model calls")
    group.add_argument("--tokens", type=int, metavar="N", help="prompt and completion tokens")
    group.add_argument("--minutes", type=float, metavar="M", help="wall-clock minutes")
    group.add_argument(
        "--usd", type=float, metavar="D", help="US dollars, by the price table (stillroom models prices)"
    )


def _search(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--trials", type=int, metavar="N", help="candidates to race, the baseline included")
    verb.add_argument("--prompt-lm", metavar="MODEL", help="another model to write proposals (default: the same)")
    verb.add_argument(
        "--prefer",
        metavar="RULE",
        help="score (default), within:POINTS[:COST] or under:AMOUNT[:COST]; tokens, usd or seconds",
    )


def _seed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--seed", type=int, metavar="N", help="seed of search and emission (the split has its own)")


def _recipe(verb: argparse.ArgumentParser) -> None:
    wanted = verb.add_mutually_exclusive_group()
    wanted.add_argument("--per-label", type=int, metavar="N", help="rows wanted of each label")
    wanted.add_argument("--n", type=int, metavar="N", help="rows wanted, for tasks without labels")


def _students(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--student", action="append", metavar="KIND", help=f"{KINDS}; may be given again")


def _epochs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--epochs", type=int, metavar="N", help="passes over the rows, for a LoRA student")


def _reuse(verb: argparse.ArgumentParser) -> None:
    text = "take over finished calls of another run, free of charge; may be given again"
    verb.add_argument("--reuse", action="append", metavar="RUN", type=Path, help=text)


def _column(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument("--column", action="append", metavar="FIELD=COLUMN", help=f"{text}; may be given again")


def _dry_run(verb: argparse.ArgumentParser, *, probe: bool = False, like: bool = False) -> None:
    group = verb.add_argument_group("forecast")
    # another module has the verbs of the same names that only look ahead
    text = "say what it will take and give, and spend nothing"
    group.add_argument("--dry-run", action="store_const", const="dry_run", dest="home", help=text)
    if probe:
        text = "with --dry-run: run N of the wanted rows for real first (16 is a good number); their calls are kept"
        group.add_argument("--probe", type=int, metavar="N", help=text)
    if like:
        text = "with --dry-run: forecast from the rows of another run"
        group.add_argument("--like", type=Path, metavar="RUN", help=text)


def _compile(verbs: Any) -> None:
    text = "search the best program for a task, or the best plan for a call of a recipe; keep the baseline unless one is better"
    verb = _task_verb(verbs, "compile", text, optional=True)
    for add in (_lm, _on, _search, _seed, _budget):
        add(verb)
    _dry_run(verb)
    group = verb.add_argument_group("a call of a recipe, in place of TASK.py")
    group.add_argument("--recipe", metavar="NAME", help="whose call is compiled (stillroom recipes list)")
    group.add_argument("--call", metavar="CALL", help="which of its calls (default: the first that it asks)")
    _order(group, "wanted rows to learn from, to score on and to confirm with (default: 160)")


def _emit(verbs: Any) -> None:
    verb = _task_verb(verbs, "emit", "write new rows with a compiled program; keep those that pass every gate")
    for add in (_lm, _on, _lm_licence, _licences, _recipe, _seed, _reuse, _budget):
        add(verb)
    _dry_run(verb, probe=True, like=True)


def _answer(verbs: Any) -> None:
    verb = _verb(verbs, "answer", "answer every row of a file with a compiled program", home="answer")
    text = "a saved plan (plan.json), the folder of a compiled run, or its task file"
    verb.add_argument("program", metavar="PROGRAM", type=Path, help=text)
    verb.add_argument("rows", metavar="ROWS", type=Path, help="a .jsonl, .csv or .parquet file; it may grow at its end")
    text = "the run folder of the answers (default: answers, beside the plan)"
    verb.add_argument("--run", type=Path, metavar="FOLDER", help=text)
    verb.add_argument("--progress", action="store_true", help="draw progress bars even where there is no terminal")
    for add in (_lm, _on, _lm_licence):
        add(verb)
    _column(verb, "what an input of the program is called in the rows")
    verb.add_argument("--licence", metavar="NAME", help="licence of the rows, as an SPDX name (default: your own)")
    for add in (_reuse, _budget):
        add(verb)
    _dry_run(verb, probe=True)


def _retry(verbs: Any) -> None:
    text = "emit or answer once more what failed calls and answers that did not parse have cost"
    verb = _task_verb(verbs, "retry", text, of_run=True)
    for add in (_lm, _on, _lm_licence, _licences, _recipe, _seed, _reuse, _budget):
        add(verb)


def _distil(verbs: Any) -> None:
    verb = _task_verb(verbs, "distil", "train small students on labelled and emitted rows")
    for add in (_students, _epochs, _licences):
        add(verb)
    verb.add_argument("--seed-only", action="store_true", help="train on the labelled rows alone")


def _prove(verbs: Any) -> None:
    verb = _task_verb(verbs, "prove", "score baseline, program and students on rows that nobody has seen")
    for add in (_lm, _on, _students, _budget):
        add(verb)


def _run(verbs: Any) -> None:
    verb = _task_verb(verbs, "run", "compile, emit, distil, prove and report, one after the other")
    for add in (_lm, _on, _lm_licence, _licences, _search, _recipe, _students, _epochs, _seed, _budget):
        add(verb)
    verb.add_argument("--quick", action="store_true", help="the small model, few trials and few rows")
    _dry_run(verb, like=True)


def _report(verbs: Any) -> None:
    verb = _verb(verbs, "report", "write what a run found as one HTML page")
    verb.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    verb.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write (default: report.html in the run folder)"
    )


def _export(verbs: Any) -> None:
    verb = _verb(verbs, "export", "hand the rows of a run over as records, for a trainer or for people", home="export")
    verb.add_argument("run", metavar="RUN", type=Path, help="a run folder that rows were emitted in")
    verb.add_argument("folder", metavar="FOLDER", type=Path, help="where to write")
    names = "sft, chat, pref, rank, unpaired, steps, critique, attr, tool, text, label, verifiable or audit"
    text = f"{names}; of a recipe's run its main one by default"
    verb.add_argument("--schema", metavar="NAME", help=text)
    text = "trl (default; as its trainers take it), hf (a dataset folder), parquet or jsonl"
    verb.add_argument("--to", default="trl", metavar="FORM", help=text)
    text = "what a field of the schema is called in the rows; several become one text; a recipe's run knows its own"
    _column(verb, text)
    text = "make pref or unpaired of accepted and rejected rows (fields prompt and completion)"
    verb.add_argument("--rejects", action="store_true", help=text)
    verb.add_argument(
        "--per-prompt", type=int, default=1, metavar="N", help="most pairs of a prompt (default: 1; 0: all)"
    )
    verb.add_argument(
        "--rank", default="all", metavar="PAIRS", help="pairs of a ranking: all (default) or best-vs-random"
    )
    verb.add_argument("--seed", type=int, metavar="N", help="of the run, for the papers; also of what is drawn")
    verb.add_argument("--round", type=int, default=0, metavar="N", help="of an iterated recipe (default: 0)")
    group = verb.add_argument_group("what the records are for, where licences ask")
    group.add_argument(
        "--student-family", default="", metavar="NAME", help="family of the model trained, such as llama"
    )
    group.add_argument("--commercial", action="store_true", help="the model is commercial")
    group.add_argument("--publish", action="store_true", help="the records themselves are passed on")
    _licences(group)
    _gated(verb)


def _recipes(verbs: Any) -> None:
    text = "list, show and run published systems of data generation"
    group = verbs.add_parser("recipes", help=text, description=f"{text.capitalize()}.")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    text = "every published system, and the recipes that cover it"
    _verb(actions, "list", text, home="recipes").set_defaults(verb="recipes_list")
    show = _verb(actions, "show", "all that is known of a recipe: what it needs, asks, takes and gives", home="recipes")
    run = _verb(actions, "run", "make rows as a published system does; keep those that pass its gates", home="recipes")
    for action in (show, run):
        action.set_defaults(verb=f"recipes_{'show' if action is show else 'run'}")
        action.add_argument("recipe", metavar="NAME", help="of a recipe, as the list has it")
        _lm(action)
    text = "the run folder (default: runs/<name of the recipe>)"
    run.add_argument("--run", type=Path, metavar="FOLDER", help=text)
    run.add_argument("--progress", action="store_true", help="draw progress bars even where there is no terminal")
    _order(run, "accepted rows wanted (default: the recipe's)")
    run.add_argument("--licence", metavar="NAME", help="licence of the sources, as an SPDX name (default: your own)")
    run.add_argument("--retry", action="store_true", help="try once more what was lost to faults before")
    for add in (_on, _lm_licence, _seed, _reuse, _budget):
        add(run)
    _dry_run(run, probe=True)


def _order(verb: Any, rows: str) -> None:
    """What a recipe is given."""
    text = "another model for a role of the recipe's calls; may be given again"
    verb.add_argument("--role", action="append", metavar="ROLE=MODEL", help=text)
    text = "rows that the recipe starts from: a .jsonl, .csv or .parquet file; may be given again"
    verb.add_argument("--source", action="append", metavar="NAME=FILE", help=text)
    verb.add_argument("--samples", action="store_true", help="let rows of our own stand in for sources not given")
    verb.add_argument("--rows", dest="many", type=int, metavar="N", help=rows)
    text = "a parameter of the recipe, as JSON or a word; may be given again"
    verb.add_argument("--param", action="append", metavar="NAME=VALUE", help=text)
    text = "a compiled plan in place of a call (stillroom compile --recipe); may be given again"
    verb.add_argument("--plan", action="append", metavar="CALL=PLAN.json", help=text)
    _gated(verb)


def _gated(verb: Any) -> None:
    text = "run or export a recipe whose rows are kept apart, such as attacks; `recipes show` says why"
    verb.add_argument("--gated", action="store_true", help=text)


def _sweep(verbs: Any) -> None:
    verb = _verb(verbs, "sweep", "compare strategies on tasks, models, budgets and seeds", home="sweep")
    verb.epilog = "exit code 6: some cells failed, the others are done; run it again to go on, or with --retry"
    verb.add_argument("spec", metavar="SPEC", type=Path, help="a TOML file, or a Python file that defines `sweep`")
    verb.add_argument("--folder", type=Path, metavar="FOLDER", help="where cells lie (default: sweeps/<name>)")
    verb.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one model each (default: 1)")
    verb.add_argument("--worker", action="store_true", help="be one more worker of a sweep that others began")
    text = "postgresql://..., mysql://..., sqlite:///FILE or grpc://HOST:PORT (default: sweep.log in the folder)"
    verb.add_argument("--storage", metavar="URL", help=f"the shared queue: {text}")
    verb.add_argument("--retry", action="store_true", help="try every failed cell again, not only those of outages")
    verb.add_argument("--dry-run", action="store_true", help="list the cells and their worst case; run nothing")
    verb.add_argument("--progress", action="store_true", help="draw a progress bar even where there is no terminal")


def _certify(verbs: Any) -> None:
    verb = _verb(verbs, "certify", "measure a judge against people's labels, or ask its canary again", home="certify")
    verb.epilog = "exit code 7: the judge is too weak to decide alone, or its canary has drifted"
    judge = "a Python file that defines `judge`, the run folder of a compiled judge, or its plan.json"
    verb.add_argument("judge", metavar="JUDGE", type=Path, help=judge)
    verb.add_argument("--against", type=Path, metavar="LABELS", help="rows with the judge's inputs and people's label")
    verb.add_argument("--canary", type=Path, metavar="CERTIFICATE", help="ask the rows kept in a certificate again")
    verb.add_argument("--label", default="label", metavar="FIELD", help="the field with the label (default: label)")
    verb.add_argument("--prompt", metavar="FIELD", help="rows equal in it share a prompt (default: the first input)")
    verb.add_argument("--kappa", type=float, metavar="K", help="lower end of kappa that is strong (default: 0.4)")
    verb.add_argument("--run", type=Path, metavar="FOLDER", help="where calls are recorded, so that it can be resumed")
    text = "where to write (default: certificate.json in the run folder, or in runs/certify-<name of the file>)"
    verb.add_argument("--out", type=Path, metavar="FILE", help=text)
    verb.add_argument("--seed", type=int, metavar="N", help="of the bootstraps")
    for add in (_lm, _budget):
        add(verb)


def _models(verbs: Any) -> None:
    verb = _verb(verbs, "models", "list, fetch and check model files; say what models cost", home="models")
    verb.add_argument("action", choices=("list", "pull", "path", "verify", "prices"))
    names = "known names; pull, path and verify take paths as well; prices takes any model, such as openai/gpt-4o-mini"
    verb.add_argument("names", nargs="*", metavar="NAME", help=names)
    verb.add_argument("--all", action="store_true", help="every known model")


def _salvage(verbs: Any) -> None:
    verb = _verb(verbs, "salvage", "put what can still be read of a damaged run in its place", home="salvage")
    verb.add_argument("run", metavar="RUN", type=Path, help="the run folder; the damaged file is kept beside it")


def _doctor(verbs: Any) -> None:
    _verb(verbs, "doctor", "say what this machine has and what is missing", home="doctor")
