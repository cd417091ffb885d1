"""A judge as a metric of search, as DSPy's metric and as a gate of emission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from stillroom.errors import BadConfig, EngineError
from stillroom.evals import Verdict, Verifier
from stillroom.evals.faces import DspyMetric
from stillroom.evals.gates import Candidate, Gate
from stillroom.rows import By, Status

from .certificate import LEAST_KAPPA, Certificate
from .opinion import Judge, Opinion, Row, nothing_to_judge, with_engine

if TYPE_CHECKING:
    from stillroom.engines import Session

__all__ = ["JudgeGate", "Source", "as_dspy_metric", "as_gate", "as_verifier", "certified"]

Source: TypeAlias = "str | Callable[[Row, Row], Any]"


def as_verifier(judge: Judge, **sources: Source) -> Verifier:
    """Use `judge` as a metric: `metric(expected, outputs) -> Verdict`.

    Each call asks the model. On a metered engine what was asked before is free.

    Args:
        judge: Any judge.
        sources: Where each of its inputs comes from: the name of a field (of the outputs, else of
            the expected row; the answer judged is never taken from the latter), or a function of the
            two. Of the same name by default. To compare an answer with the gold one:
            `first="answer", second=lambda expected, outputs: expected["answer"]`.

    Returns:
        A verifier. Where the answer to be judged is missing it fails; where anything else is
        missing, the judge contradicts itself or does not answer in its format, it is unverified.

    Raises:
        BadConfig: If a source names no input of the judge.
    """
    reads = _sources(judge, sources)

    def check(expected: Row, outputs: Row) -> Verdict:
        # a gold answer that stands in for a missing one would be praised
        rest = {name: {} if name == judge.subject and isinstance(reads[name], str) else expected for name in reads}
        row = {name: _value(source, rest[name], outputs) for name, source in reads.items()}
        if nothing_to_judge(judge.plan, {**dict.fromkeys(row, "-"), judge.subject: row[judge.subject]}):
            return Verdict.fail(f"nothing to judge: no {judge.subject}")
        (opinion,) = judge.judge([row])
        return opinion.verdict

    named = ", ".join(f"{name}={_called(source)}" for name, source in reads.items() if source != name)
    return Verifier(f"{judge.name}({named})" if named else judge.name, check)


def as_dspy_metric(judge: Judge, *, unverified: float = 0.0, **sources: Source) -> DspyMetric:
    """Use `judge` as a metric of `dspy.Evaluate` and DSPy's optimizers; see `as_verifier`.

    Raises:
        BadConfig: If `unverified` is not in 0..1, or a source names no input of the judge.
    """
    from stillroom.evals import faces

    return faces.as_dspy_metric(as_verifier(judge, **sources), unverified=unverified)


@dataclass(frozen=True)
class JudgeGate:
    """A judge as a gate: one batch of askings a batch of rows.

    Attributes:
        judge: Who decides.
        reads: Where each of the judge's inputs comes from, in the row.
        least: The score that passes, in 0..1.
        on_fail: What a row becomes that does not pass.
        doubt: Why the judge may not decide alone, or "".
        review: Under doubt: whether all rows go to review, or those the judge would have failed.
        certificate: Digest of the certificate that lets the judge decide, or "".
    """

    judge: Judge
    reads: Mapping[str, Source]
    least: float
    on_fail: Status
    doubt: str = ""
    review: Literal["all", "failed"] = "all"
    certificate: str = ""
    by: ClassVar[By] = "judge"

    @property
    def pin(self) -> str:
        """The name, which holds the plan's digest, and the model and certificate behind it."""
        return f"{self.name} by {self.judge.engine.model}, certificate {self.certificate or 'none'}"

    def within(self, session: Session) -> JudgeGate:
        """The gate with its judge's calls on the session's store and budget."""
        return replace(self, judge=with_engine(self.judge, session.beside(self.judge.engine)))

    @property
    def name(self) -> str:
        """As funnels and passports name it."""
        note = f", review of {self.review} ({self.doubt})" if self.doubt else ""
        return f"{self.judge.name} >= {self.least:g}{note}"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order. Rows that did not parse are not asked about."""
        whole = [candidate for candidate in batch if not candidate.fault]
        opinions = iter(self.judge.judge([self._row(candidate) for candidate in whole]))
        return [self._of(candidate, None if candidate.fault else next(opinions)) for candidate in batch]

    async def acheck(self, batch: Sequence[Candidate]) -> list[Verdict | EngineError]:
        """The same without blocking, with the engine's error in place of a verdict where a call failed."""
        whole = [candidate for candidate in batch if not candidate.fault]
        opinions = iter(await self.judge.ajudge([self._row(candidate) for candidate in whole]))
        found: list[Verdict | EngineError] = []
        for candidate in batch:
            opinion = None if candidate.fault else next(opinions)
            found.append(opinion if isinstance(opinion, EngineError) else self._of(candidate, opinion))
        return found

    def _of(self, candidate: Candidate, opinion: Opinion | None) -> Verdict:
        if opinion is None:
            return Verdict.fail(candidate.fault)
        candidate.spent.append(opinion.cost.spent)
        return self._verdict(opinion)

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        wished = {**candidate.values, **candidate.target}
        return {name: _value(source, wished, candidate.values) for name, source in self.reads.items()}

    def _verdict(self, opinion: Opinion) -> Verdict:
        found = opinion.verdict
        passed = found.reaches(self.least)
        if not self.doubt:
            return Verdict(1.0, found.why) if passed else found
        if passed and self.review == "failed":
            return Verdict(1.0, f"not vouched for by {self.judge.kind} judge: {self.doubt}")
        said = (
            "left it open"
            if found.score is None
            else f"gave {found.score:.2f}, {'a pass' if passed else 'a fail'} at {self.least:g}"
        )
        tail = f" ({found.why})" if found.why else ""
        return Verdict.unverified(f"for review, as the judge may not decide alone: {self.doubt}; it {said}{tail}")


def as_gate(judge: Judge, *, least: float = 0.5, on_fail: Status = "rejected", **sources: Source) -> Gate:
    """Use `judge` as a gate that decides alone, certified or not. Prefer `certified`.

    Raises:
        BadConfig: If `least` is not in 0..1, `on_fail` unknown, or a source names no input of the judge.
    """
    if not 0 < least <= 1 or on_fail not in ("rejected", "audit"):
        raise BadConfig(f"least must be in 0..1 and on_fail rejected or audit, got {least!r} and {on_fail!r}")
    return JudgeGate(judge, _sources(judge, sources), least, on_fail)


def certified(
    judge: Judge,
    certificate: Certificate | None,
    *,
    least: float = 0.5,
    kappa: float = LEAST_KAPPA,
    review: Literal["all", "failed"] = "all",
    **sources: Source,
) -> Gate:
    """Use `judge` as a gate that decides alone only where its certificate lets it.

    It decides (what fails is rejected) if the certificate is of this very plan, model and
    settings and the lower end of its kappa reaches `kappa`. Else every row goes to `audit`,
    with what the judge thought and why it may not decide.

    Args:
        judge: Who decides.
        certificate: From `certify`, or `Certificate.load`; None for an uncertified judge.
        least: The score that passes.
        kappa: What the lower end of the kappa interval must reach.
        review: Of a judge in doubt: "all" rows are for review, or only those it "failed".
        sources: As `as_verifier` takes them.

    Raises:
        BadConfig: If a setting is not one of these.
    """
    if review not in ("all", "failed"):
        raise BadConfig(f"review must be all or failed, got {review!r}")
    if not -1 <= kappa <= 1:
        raise BadConfig(f"kappa must be in -1..1, got {kappa!r}")
    doubt = "it has no certificate" if certificate is None else certificate.doubt(judge, kappa)
    gate = as_gate(judge, least=least, on_fail="audit" if doubt else "rejected", **sources)
    assert isinstance(gate, JudgeGate)
    vouched = "" if certificate is None or doubt else certificate.digest
    return JudgeGate(judge, gate.reads, least, gate.on_fail, doubt, review, vouched)


def _sources(judge: Judge, sources: Mapping[str, Source]) -> dict[str, Source]:
    names = [each.name for each in judge.plan.shape.inputs]
    unknown = sorted(sources.keys() - set(names))
    if unknown:
        raise BadConfig(f"the judge's inputs are {', '.join(names)}, got a source for {unknown[0]!r}")
    return {name: sources.get(name, name) for name in names}


def _value(source: Source, expected: Row, outputs: Row) -> Any:
    if isinstance(source, str):
        return outputs[source] if source in outputs else expected.get(source)
    try:
        return source(expected, outputs)
    except (KeyError, IndexError):  # the field it looks for is not there
        return None


def _called(source: Source) -> str:
    return source if isinstance(source, str) else str(getattr(source, "__qualname__", type(source).__qualname__))
