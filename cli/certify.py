"""`stillroom certify`: measure a judge against people's labels, or ask its canary again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .job import budget_of
from .show import Ending, Screen, table
from .taskfile import execute
from .watched import Watched, stoppable

if TYPE_CHECKING:
    from stillroom.programs.judging import Certificate, Drift, Judge

__all__ = ["certify"]

WEAK = 7  # exit code: the judge may not decide alone, or its canary has drifted


def certify(args: Namespace, screen: Screen) -> Ending:
    """Write a certificate, exit code 7 if it is a weak one; or recheck a canary, exit code 7 if it drifted.

    Raises:
        BadInput: If judge, labels or certificate cannot be read.
    """
    if (args.against is None) == (args.canary is None):
        raise BadConfig(
            f"certify needs --against or --canary, got {'both' if args.against else 'neither'}",
            mend="Give --against LABELS to certify, or --canary CERTIFICATE to ask its rows again.",
        )
    if args.kappa is not None and not -1 <= args.kappa <= 1:
        raise BadConfig(f"--kappa must be in -1..1, got {args.kappa:g}")
    with ExitStack() as stack:
        judge = _judge(args.judge, args.lm, stack)
        return _rechecked(args, judge, screen) if args.canary is not None else _certified(args, judge, screen)


# -- the judge -------------------------------------------------------------------------


def _judge(path: Path, lm: str | None, stack: ExitStack) -> Judge:
    """From a run folder or a saved plan; else from a Python file of the user's own."""
    if path.is_dir() or path.suffix == ".json":
        return _compiled(path / "plan.json" if path.is_dir() else path, lm, stack)
    if not path.is_file() or path.suffix != ".py":
        raise BadConfig(
            f"a judge must be a Python file that defines `judge`, a run folder or a saved plan, got {str(path)!r}"
        )
    if lm is not None:
        raise BadConfig(f"--lm goes with a compiled judge; {path.name} opens its own engine, got {lm!r}")
    judge = _defined(path)
    stack.callback(judge.engine.close)
    return judge


def _compiled(path: Path, lm: str | None, stack: ExitStack) -> Judge:
    from stillroom.engines import open_engine
    from stillroom.programs import Plan
    from stillroom.programs.judging import judge_of

    plan = Plan.load(path)
    engine = open_engine(lm or plan.model)
    stack.callback(engine.close)
    return judge_of(plan, engine)


def _defined(path: Path) -> Judge:
    """Run the file: it is the user's own program."""
    found = vars(execute(path))
    judge: Judge | None = found.get("judge")
    if judge is None or not all(hasattr(judge, name) for name in ("judge", "plan", "engine", "kind")):
        raise BadConfig(
            f"{path} must define `judge`, got {'no such name' if judge is None else f'a {type(judge).__name__}'}",
            mend="Add: judge = stillroom.programs.judging.pairwise(stillroom.open_engine('local/qwen2.5-coder-1.5b'))",
        )
    return judge


@contextmanager
def _watched(judge: Judge) -> Iterator[Judge]:
    """The same judge, stopped by Ctrl-C between two calls."""
    from stillroom.programs.judging import with_engine

    check = getattr(judge.engine, "check", None)
    if callable(check):
        check()
    watched = Watched(judge.engine)
    with stoppable(watched):
        yield with_engine(judge, watched)


# -- certifying ------------------------------------------------------------------------


def _certified(args: Namespace, judge: Judge, screen: Screen) -> Ending:
    from stillroom.engines import open_session
    from stillroom.programs import judging
    from stillroom.signatures.data import read_rows
    from stillroom.values import digest

    rows = [row for _, row in read_rows(args.against)]
    labelled = judging.read_labels(judge, rows, label=args.label, prompt=args.prompt or "")
    marks = digest([asdict(row) for row in labelled], 8)
    home = args.judge if args.judge.is_dir() else Path("runs") / f"certify-{args.judge.stem}"
    folder = args.run or home / "certify" / f"{judge.plan.digest[:8]}-{marks}"
    fingerprint = {"judge": judge.name, "labels": marks}
    with (
        _watched(judge) as asking,
        open_session(asking.engine, folder, "certify", fingerprint, budget_of(vars(args))) as session,
    ):
        certificate = judging.certify(
            judging.with_engine(asking, session.engine), labelled, source=args.against.name, seed=args.seed or 0
        )
    path = certificate.save(args.out or home / "certificate.json")
    least = judging.LEAST_KAPPA if args.kappa is None else args.kappa
    weak = certificate.weakness(least)
    screen.say(*lines(certificate), f"  certificate: {path}")
    for warning in certificate.warnings:
        screen.note(warning)
    screen.say(
        f"  {'weak: ' + weak + '; gates send its rows to review' if weak else 'strong: gates may let it decide'}"
    )
    value = {key: each for key, each in certificate.as_json().items() if key != "canary"}
    told = {"certificate": str(path), "strong": not weak, "weakness": weak, "least_kappa": least}
    return Ending({**told, "found": value, "warnings": certificate.warnings}, WEAK if weak else 0)


def lines(certificate: Certificate) -> list[str]:
    """The certificate as a table for people."""
    judge, labels, agreed = certificate.judge, certificate.labels, certificate.agreement
    shown: list[tuple[object, ...]] = [("measure", "value", "low", "high")]
    shown += [_row(name.replace("_", " "), agreed[name]) for name in ("accuracy", "kappa", "spearman", "kendall")]
    positions, length, own = certificate.positions or {}, certificate.length or {}, certificate.self_preference or {}
    if positions:
        shown += [_row("swap consistency", positions["swap_consistency"]), _row("P(first)", positions["p_first"])]
    if length:
        what = "longer wins" if "pairs" in length else "length, rank correlation"
        shown += [_row(f"{what}: {who}", length[who]) for who in ("judge", "people", "difference")]
    if "odds_for_twice_the_words" in length:
        shown.append(_row("odds for twice the words", length["odds_for_twice_the_words"]))
    if own:
        shown += [
            _row(f"own family ({own['family']}) wins: {who}", own[who]) for who in ("judge", "people", "difference")
        ]
    if certificate.calibration is not None:
        shown.append(("calibration error (ECE)", certificate.calibration["ece"], None, None))
    seen = agreed["detectable_difference"]
    can = (
        "too few to compare two judges" if seen is None else f"another judge must differ by {seen:.2f} to be told apart"
    )
    return [
        f"{judge['name']} on {certificate.model}",
        f"  {agreed['n']} rows over {agreed['prompts']} prompts of {labels['source'] or 'labels'}: {can}",
        *(f"  {line}" for line in table(shown)),
    ]


def _row(name: str, found: Mapping[str, float] | None) -> tuple[str, float | None, float | None, float | None]:
    return (name, None, None, None) if found is None else (name, found["mean"], found["low"], found["high"])


# -- canary ----------------------------------------------------------------------------


def _rechecked(args: Namespace, judge: Judge, screen: Screen) -> Ending:
    """Ask anew: no store stands between, because what is remembered cannot drift."""
    from stillroom.programs.judging import Certificate, recheck

    certificate = Certificate.load(args.canary)
    with _watched(judge) as asking:
        drift = recheck(asking, certificate)
    screen.say(_drift_line(drift))
    if judge.engine.model != certificate.model:
        screen.note(f"the certificate is for {certificate.model}, the canary was asked of {judge.engine.model}")
    value = {**asdict(drift), "verdict": asdict(drift.verdict), "drifted": drift.verdict.score == 0.0}
    return Ending({"canary": value}, 0 if drift.verdict.passed else WEAK)


def _drift_line(drift: Drift) -> str:
    moved = (
        "no score" if drift.after is None or drift.before is None else f"mean {drift.before:.3f}, now {drift.after:.3f}"
    )
    state = "steady" if drift.verdict.passed else drift.verdict.why
    return f"canary of {drift.rows} rows: {state} ({moved}; {len(drift.changed)} labels changed)"
