"""Certify a judge against people's labels, and ask its canary again later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from stillroom.errors import BadConfig, BadData
from stillroom.evals import Verdict
from stillroom.evals.agreement import (
    OPEN,
    Judged,
    agreement,
    calibration,
    length_bias,
    positions,
    self_preference,
)
from stillroom.evals.policies import canary as policy
from stillroom.values import digest

from .asking import plain
from .certificate import Certificate
from .opinion import Bill, Judge, Opinion, Row
from .shapes import POINTS, order_of

__all__ = ["CANARY", "Drift", "Labelled", "certify", "judged", "read_labels", "recheck"]

CANARY = 20
DRIFT = 0.0625
"""How far a canary's mean score may move: a quarter of a point on the five-point scale, in 0..1."""
SPELLED: Mapping[str, Mapping[str, str]] = {
    "pairwise": {"1": "first", "2": "second", "a": "first", "b": "second", "0": "tie"},
    "yes-no": {"true": "yes", "false": "no", "1": "yes", "0": "no"},
}
LABELS: Mapping[str, tuple[str, ...]] = {
    "pairwise": ("first", "second", "tie"),
    "yes-no": ("yes", "no"),
    "rubric": POINTS,
    "reference": POINTS,
}


@dataclass(frozen=True)
class Labelled:
    """A row with what people said of it.

    Attributes:
        inputs: The judge's inputs.
        label: People's: "first", "yes", "4", or an order as numbers, best first.
        value: The label as a number: 1, 0.5 or 0; points; of an order nothing.
        order: Of a ranking.
        prompt: What rows of one prompt share.
        systems: Who wrote the answers, where it is known.
    """

    inputs: Mapping[str, Any]
    label: str
    value: float = 0.0
    order: tuple[int, ...] = ()
    prompt: str = ""
    systems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drift:
    """What became of a canary: the verdict, the mean score then and now, and the rows that changed their label."""

    verdict: Verdict
    before: float | None
    after: float | None
    changed: tuple[int, ...]
    rows: int


def read_labels(judge: Judge, rows: Sequence[Row], *, label: str = "label", prompt: str = "") -> list[Labelled]:
    """Read people's labels for `judge`.

    A row holds the judge's inputs and a label: for pairs first, second or tie (also 1, 2, a, b), for
    points a number from 1 to 5, yes or no, or an order such as [2, 1, 3]. Who wrote the answers
    may stand in `first_system` and `second_system`, or in `system`.

    Args:
        judge: Whose inputs the rows must hold.
        rows: As `stillroom.signatures.data.read_rows` gives them.
        label: The field with people's label.
        prompt: The field that rows of one prompt share; the judge's first input by default.

    Raises:
        BadData: Listing every row that lacks a field or has a label of another kind.
    """
    names = [each.name for each in judge.plan.shape.inputs]
    schemas = {each.name: each.schema for each in judge.plan.shape.inputs}
    found, problems = [], []
    for number, row in enumerate(rows, start=1):
        lacks = [name for name in (*names, label, *([prompt] if prompt else [])) if row.get(name) is None]
        read = None if lacks else _label(judge.kind, row, row[label])
        if read is None:
            what = (
                f"lacks {', '.join(lacks)}" if lacks else f"{label} must be {_wanted(judge.kind)}, got {row[label]!r}"
            )
            problems.append(f"row {number}: {what}")
            continue
        said, value, order = read
        systems = tuple(str(row.get(name) or "") for name in _system_fields(judge.kind))
        group = " ".join(str(row[prompt or names[0]]).casefold().split())
        found.append(
            Labelled({name: plain(row[name], schemas[name]) for name in names}, said, value, order, group, systems)
        )
    if problems:
        raise BadData(f"every labelled row must fit a {judge.kind} judge, got {len(problems)} problems:", problems)
    if not found:
        raise BadData("a certificate needs labelled rows, got none")
    return found


def certify(judge: Judge, labelled: Sequence[Labelled], *, source: str = "", seed: int = 0) -> Certificate:
    """Let `judge` judge the rows, and tell how it agrees with people.

    Args:
        judge: On a metered engine, so that it is paid for and can be resumed.
        labelled: From `read_labels`; one at least.
        source: What the certificate calls the rows.
        seed: Of bootstraps.

    Raises:
        EngineError, BudgetExceeded: What was asked so far is recorded by a metered engine.
        BadConfig: If there are no rows.
    """
    if not labelled:
        raise BadConfig("a certificate needs labelled rows, got none")
    opinions = judge.judge([row.inputs for row in labelled])
    bill = Bill()
    bill.add(opinions)
    rows = judged(judge, labelled, opinions)
    points = judge.kind in ("rubric", "reference")
    content = [[dict(row.inputs), row.label, list(row.systems)] for row in labelled]
    return Certificate(
        judge={"name": judge.name, "kind": judge.kind, "plan": judge.plan.digest},
        model=judge.engine.model,
        labels={"digest": digest(content), "source": source, "rows": len(labelled)},
        agreement=agreement(rows, order=POINTS if points else None, seed=seed),
        positions=positions(rows, seed=seed),
        length=length_bias(rows, seed=seed),
        self_preference=self_preference(rows, judge.engine.model, seed=seed),
        calibration=calibration(rows) if judge.plan.scored is not None else None,
        canary=tuple(_kept(labelled[at], opinions[at]) for at in _canary_rows(labelled)),
        cost={"calls": bill.calls, "tokens": bill.cost.tokens, "usd": bill.cost.usd},
    )


def recheck(judge: Judge, certificate: Certificate, *, most: float = DRIFT) -> Drift:
    """Ask the certificate's canary again. The engine must not remember: an answer from a store cannot drift.

    Args:
        judge: On an engine that is not metered by the store of the certification.
        certificate: Of the same plan; the model may be another one, as that is one way to drift.
        most: How far the mean score may move, in 0..1.

    Returns:
        A drift whose verdict passes, fails with the distance, or is unverified with under 10 rows to compare.

    Raises:
        BadConfig: If the certificate is for another plan.
    """
    if certificate.judge["plan"] != judge.plan.digest:
        raise BadConfig(
            f"a canary must be asked with its own plan {certificate.judge['plan']}, got {judge.plan.digest}"
        )
    opinions = judge.judge([row["inputs"] for row in certificate.canary])
    pairs = [
        (float(row["score"]), opinion.verdict.score)
        for row, opinion in zip(certificate.canary, opinions, strict=True)
        if row["score"] is not None and opinion.verdict.score is not None
    ]
    before, after = [was for was, _ in pairs], [now for _, now in pairs if now is not None]
    changed = [
        at
        for at, (row, said) in enumerate(zip(certificate.canary, opinions, strict=True))
        if row["choice"] != said.choice
    ]
    # rows that were open then or now stay out of the means; if they were many, `changed` says so
    verdict = policy(before, after, most=most, least_rows=CANARY // 2)
    if verdict.passed and len(changed) * 4 > len(opinions):
        verdict = Verdict.fail(f"{len(changed)} of {len(opinions)} rows changed their label")
    means = (fmean(before), fmean(after)) if pairs else (None, None)
    return Drift(verdict, means[0], means[1], tuple(changed), len(opinions))


def judged(judge: Judge, labelled: Sequence[Labelled], opinions: Sequence[Opinion]) -> list[Judged]:
    """Put people and judge side by side; a ranking becomes all pairs of its answers."""
    if judge.kind == "ranking":
        return [each for row, said in zip(labelled, opinions, strict=True) for each in _ranked(row, said)]
    return [_side_by_side(judge, row, said) for row, said in zip(labelled, opinions, strict=True)]


def _side_by_side(judge: Judge, row: Labelled, said: Opinion) -> Judged:
    paired = judge.kind == "pairwise"
    positive: tuple[str, ...] = {"pairwise": ("first", "second"), "yes-no": ("yes", "no")}.get(judge.kind, ())
    value: float | None = said.p
    if not positive:
        value = None if said.verdict.score is None else 1 + said.verdict.score * (len(POINTS) - 1)
    texts = ("first", "second") if paired else (judge.subject,)
    return Judged(
        group=row.prompt,
        people=row.label,
        # a tie is a label where people gave it too; else it is a row left open
        judge=said.choice if said.choice and (said.verdict.verified or said.choice == row.label) else OPEN,
        people_value=row.value,
        judge_value=value if said.verdict.verified or said.choice == "tie" else None,
        p=said.p if said.choice else None,
        right=row.label == positive[0] if row.label in positive else None,
        readings=said.readings if paired else (),
        lengths=tuple(len(str(row.inputs[name]).split()) for name in texts),
        systems=row.systems,
    )


def _ranked(row: Labelled, said: Opinion) -> list[Judged]:
    order = order_of(said.choice, len(row.order))
    found = []
    answers = row.inputs["answers"]
    for one in range(len(row.order)):
        for two in range(one + 1, len(row.order)):
            ahead = row.order.index(one + 1) < row.order.index(two + 1)
            mine = None if order is None else said.readings[two] - said.readings[one]
            named = OPEN if not mine else "first" if mine > 0 else "second"
            value = None if mine is None else 0.5 if mine == 0 else float(mine > 0)
            lengths = len(str(answers[one]).split()), len(str(answers[two]).split())
            found.append(
                Judged(row.prompt, "first" if ahead else "second", named, float(ahead), value, lengths=lengths)
            )
    return found


def _label(kind: str, row: Row, value: Any) -> tuple[str, float, tuple[int, ...]] | None:
    if kind == "ranking":
        answers = row["answers"]
        order = order_of(value, len(answers)) if isinstance(answers, (list, tuple)) else None
        return None if order is None else (",".join(map(str, order)), 0.0, order)
    if kind in ("rubric", "reference"):
        try:
            points = float(value)
        except (TypeError, ValueError):
            return None
        inside = float(POINTS[0]) <= points <= float(POINTS[-1])
        return (str(int(points + 0.5)), points, ()) if inside else None
    text = str(value).strip().casefold()
    text = SPELLED[kind].get(text, text)
    numbers = {"first": 1.0, "yes": 1.0, "tie": 0.5, "second": 0.0, "no": 0.0}
    return (text, numbers[text], ()) if text in LABELS[kind] else None


def _wanted(kind: str) -> str:
    if kind == "ranking":
        return "an order of all answers, their numbers from 1"
    return "a number from 1 to 5" if LABELS[kind] is POINTS else " or ".join(LABELS[kind])


def _system_fields(kind: str) -> tuple[str, ...]:
    return {"pairwise": ("first_system", "second_system"), "ranking": ()}.get(kind, ("system",))


def _canary_rows(labelled: Sequence[Labelled]) -> list[int]:
    """Twenty rows by the hash of their inputs: the same ones whatever the order of the file."""
    return sorted(range(len(labelled)), key=lambda at: digest(dict(labelled[at].inputs)))[:CANARY]


def _kept(row: Labelled, said: Opinion) -> dict[str, Any]:
    score = said.verdict.score
    return {"inputs": dict(row.inputs), "choice": said.choice, "score": None if score is None else round(score, 6)}
