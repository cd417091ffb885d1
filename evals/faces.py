"""One verifier, three faces: a DSPy metric, a gate of emission, a reward function for TRL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.rows import By, Status

from .gates import Candidate
from .verdict import Verdict, Verifier

__all__ = ["DspyMetric", "Reward", "VerifierGate", "as_dspy_metric", "as_gate", "as_reward"]

Reward = Callable[..., list[float | None]]


@dataclass
class DspyMetric:
    """A verifier as `metric(example, prediction, trace=None)`, and GEPA's two further arguments.

    Attributes:
        verifier: What decides.
        fields: The outputs it sees; all of the prediction's if empty.
        unverified: The score of an answer that could not be verified.
        open: How many answers that were since this was made. Not exact across threads.
    """

    verifier: Verifier
    fields: tuple[str, ...] = ()
    unverified: float = 0.0
    open: int = field(default=0, compare=False)

    @property
    def __name__(self) -> str:
        """As DSPy's tables call it."""
        return self.verifier.name

    def __call__(
        self, example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """Score a prediction, 0..1; a bool while demos are collected; with feedback when GEPA reflects."""
        said = dict(prediction.items()) if hasattr(prediction, "items") else {}
        outputs = {name: said[name] for name in self.fields if name in said} if self.fields else said
        found = self.verifier(dict(example.items()), outputs)
        if found.score is None:
            self.open += 1
        if pred_name is not None:
            import dspy

            return dspy.Prediction(score=self._score(found), feedback=found.why or "This is right.")
        # a trace is passed where the answer becomes a demo: only what was verified and is right in full
        return found.passed if trace is not None else self._score(found)

    def _score(self, found: Verdict) -> float:
        return self.unverified if found.score is None else found.score


def as_dspy_metric(verifier: Verifier, *fields: str, unverified: float = 0.0) -> DspyMetric:
    """Use `verifier` as a metric of `dspy.Evaluate` and of DSPy's optimizers.

    DSPy knows no third state and adds scores up, so what could not be verified needs a
    number: by default none earned. `metric.open` counts how often that was.

    Raises:
        BadConfig: If `unverified` is not in 0..1.
    """
    if not 0 <= unverified <= 1:
        raise BadConfig(f"unverified must be a score in 0..1, got {unverified!r}")
    return DspyMetric(verifier, fields, unverified)


@dataclass(frozen=True)
class VerifierGate:
    """A verifier as a gate: the candidate's values are the answer, what was wished for is the gold."""

    verifier: Verifier
    least: float
    on_fail: Status
    unverified: Literal["fail", "pass"]

    @property
    def name(self) -> str:
        """As funnels and passports name it."""
        least = "" if self.least == 1 else f" >= {self.least:g}"
        return f"{self.verifier.name}{least}{', unverified passes' if self.unverified == 'pass' else ''}"

    @property
    def by(self) -> By:
        """A program that knows what is right decides."""
        return "verifier"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        found = self.verifier({**candidate.values, **candidate.target}, candidate.values)
        if found.reaches(self.least):
            return Verdict(1.0, found.why)
        if found.score is None and self.unverified == "pass":
            return Verdict(1.0, f"unverified: {found.why}")
        return found

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


def as_gate(
    verifier: Verifier,
    *,
    least: float = 1.0,
    on_fail: Status = "rejected",
    unverified: Literal["fail", "pass"] = "fail",
) -> VerifierGate:
    """Use `verifier` as a gate of emission.

    A gate has one fate for all that fail. To reject what is wrong and show a person what
    could not be told, put two in a row: one with `unverified="pass"`, then one with
    `on_fail="audit"`.

    Args:
        verifier: Called with all values of the row, the wished ones as gold.
        least: The score that passes, in 0..1.
        on_fail: What a row becomes that does not pass.
        unverified: What becomes of rows that could not be verified.

    Raises:
        BadConfig: If a setting is not one of these.
    """
    if not 0 < least <= 1:
        raise BadConfig(f"least must be in 0..1, got {least!r}")
    if on_fail not in ("rejected", "audit") or unverified not in ("fail", "pass"):
        raise BadConfig(f"on_fail is rejected or audit, unverified fail or pass, got {on_fail!r}, {unverified!r}")
    return VerifierGate(verifier, least, on_fail, unverified)


def as_reward(
    verifier: Verifier,
    output: str = "completion",
    *,
    read: Callable[[str], Mapping[str, Any]] | None = None,
    unverified: float | None = None,
) -> Reward:
    """Use `verifier` as a reward function of TRL's GRPO trainer: `reward(prompts, completions, **columns)`.

    The dataset's columns are the row, with the prompt under `prompt`; the completion
    (of a conversation, its last message) is the output. A completion that cannot be
    verified gives None, which TRL leaves out of the sum of rewards.

    Args:
        verifier: Called once a completion.
        output: The output field that the completion is.
        read: Reads outputs from the completion instead; a ValueError from it means no outputs.
        unverified: A reward for what could not be verified, in place of None.
    """

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        rows = _rows(prompts, completions, columns)
        found = [
            verifier(row, _outputs(_text(said), output, read)) for row, said in zip(rows, completions, strict=True)
        ]
        return [unverified if verdict.score is None else verdict.score for verdict in found]

    reward.__name__ = verifier.name  # TRL logs rewards under it
    return reward


def _rows(prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    # TRL passes its state and loggers beside the columns, which are lists of one value a completion
    known = {
        name: values
        for name, values in columns.items()
        if isinstance(values, list)
        and len(values) == len(completions)
        and name not in ("completion_ids", "environments")
    }
    return [
        {"prompt": _text(prompt), **{name: values[at] for name, values in known.items()}}
        for at, prompt in enumerate(prompts)
    ]


def _outputs(text: str, output: str, read: Callable[[str], Mapping[str, Any]] | None) -> Mapping[str, Any]:
    if read is None:
        return {output: text}
    try:
        return read(text)
    except ValueError:
        return {}


def _text(said: Any) -> str:
    if isinstance(said, str):
        return said
    content = said[-1].get("content") if isinstance(said, list) and said and isinstance(said[-1], Mapping) else None
    if isinstance(content, list):  # blocks: text and images
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))
    return content if isinstance(content, str) else ""
