"""A compiled program as a value: a readable, frozen plan that renders requests and reads answers."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.engines.plain import said
from stillroom.errors import BadConfig
from stillroom.signatures import FORMATS, Example, Field, Format, Shape, Unparsed
from stillroom.signatures.formats import system_text, user_text
from stillroom.values import altered, digest, pretty, write_atomic

if TYPE_CHECKING:
    import dspy
    from dspy.lm15 import Message, Request, Response

__all__ = ["REASONING", "Decoding", "Demo", "Plan", "separable", "written"]

VERSION = 1
REASONING = Field("reasoning", {"type": "string"}, "think step by step, briefly")


@dataclass(frozen=True)
class Decoding:
    """How an answer is sampled.

    Attributes:
        temperature: 0 is greedy.
        max_tokens: Longest answer.
        top_p: Nucleus sampling, or `None` for all tokens.
        constrained: Whether the format's schema or regex constrains decoding.
    """

    temperature: float = 0.0
    max_tokens: int = 256
    top_p: float | None = None
    constrained: bool = True


@dataclass(frozen=True)
class Demo:
    """A worked example shown in the prompt. `id` is the labelled row it comes from."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @classmethod
    def of(cls, example: Example) -> Demo:
        """Show a labelled row as it is."""
        return cls(example.id, dict(example.inputs), dict(example.outputs))


@dataclass(frozen=True)
class Plan:
    """A compiled program.

    Attributes:
        shape: The task's fields.
        model: `provider/name@digest` of the model it was compiled for.
        instruction: What the system message asks.
        demos: Worked examples, in the order shown.
        format: A name in `stillroom.signatures.FORMATS`.
        reasoning: Whether the model writes its reasoning before the outputs.
        decoding: Sampling settings.
        scored: `None` where the answer is written. Else the answer is the label with the highest log-probability
            less this calibration of the label, in nats; nothing is sampled.
        notes: Where it comes from (scores, trials); not part of its digest.

    Raises:
        BadConfig: If the format is unknown or cannot ask for this shape; or if `scored` does not hold the labels
            of the one output, is joined with reasoning, or the format cannot tell the labels apart.
    """

    shape: Shape
    model: str
    instruction: str
    demos: tuple[Demo, ...] = ()
    format: str = "json"
    reasoning: bool = False
    decoding: Decoding = Decoding()
    notes: Mapping[str, Any] = field(default_factory=dict)
    scored: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise BadConfig(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if not FORMATS[self.format].fits(self.asked):
            raise BadConfig(f"format {self.format!r} cannot ask for {[each.name for each in self.asked.outputs]}")
        if self.scored is not None:
            self._check_scored(self.scored)

    def _check_scored(self, scored: Mapping[str, float]) -> None:
        label = self.shape.label_field
        if label is None or scored.keys() != set(label.labels):
            wanted = list(label.labels) if label else "a task with one categorical output"
            raise BadConfig(f"scored must hold a calibration of each label of {wanted}, got {sorted(scored)}")
        if not all(math.isfinite(value) for value in scored.values()):
            raise BadConfig(f"a calibration must be finite, got {dict(scored)}")
        if self.reasoning:
            raise BadConfig("a plan that scores labels writes nothing, got reasoning", mend="Leave one of them out.")
        if not separable(self.shape, self.format):
            raise BadConfig(
                f"format {self.format!r} cannot tell the labels of {label.name!r} apart by their beginnings",
                mend="Use a format that marks the end of an answer, such as 'json'.",
            )

    @cached_property
    def asked(self) -> Shape:
        """The shape as asked of the model: reasoning first where the plan has it."""
        return replace(self.shape, outputs=(REASONING, *self.shape.outputs)) if self.reasoning else self.shape

    @property
    def _format(self) -> Format:
        return FORMATS[self.format]

    # -- requests and answers ---------------------------------------------------------

    @cached_property
    def system(self) -> str:
        """The system message."""
        return system_text(self.asked, self.instruction, self._format)

    @cached_property
    def _turns(self) -> tuple[Message, ...]:
        from dspy.lm15 import Message

        turns: list[Message] = []
        for demo in self.demos:
            turns.append(Message.user(user_text(self.shape, demo.inputs)))
            turns.append(Message.assistant(self._format.write(self.asked, demo.outputs)))
        return tuple(turns)

    @cached_property
    def _config(self) -> Any:
        from dspy.lm15 import Config

        constraint = self._format.constrain(self.asked) if self.decoding.constrained else {}
        return Config(
            max_tokens=self.decoding.max_tokens,
            temperature=self.decoding.temperature,
            top_p=self.decoding.top_p,
            **constraint,
        )

    @cached_property
    def _blank(self) -> Request:
        """A request that is right but for its last message: what all requests share is checked once."""
        from dspy.lm15 import Message, Request

        return Request(
            model=self.model,
            system=self.system,
            messages=(*self._turns, Message.user("")),
            config=self._config,
        )

    def render(self, inputs: Mapping[str, Any], *, seed: int | None = None) -> Request:
        """The request for one row. Equal inputs and seed give equal requests."""
        config = self._config if seed is None else altered(self._config, seed=seed)
        return altered(self._blank, messages=(*self._turns, said("user", user_text(self.shape, inputs))), config=config)

    def read(self, response: Response) -> dict[str, Any]:
        """The typed outputs of a response, reasoning included where the plan has it.

        Raises:
            Unparsed: If the answer is empty, was cut off, or does not fit.
        """
        text = response.message.text or ""
        if not text.strip():
            raise Unparsed("answer is empty")
        try:
            return self._format.parse(self.asked, text)
        except Unparsed as error:
            if response.finish_reason == "length":
                raise Unparsed(f"answer was cut off at {self.decoding.max_tokens} tokens") from error
            raise

    @cached_property
    def continuations(self) -> Mapping[str, str]:
        """What the format would write for each label, by label; empty without a categorical output."""
        return written(self.shape, self.format)

    def choose(self, totals: Mapping[str, float]) -> dict[str, Any]:
        """The outputs of a scored plan, from the log-probability of each label in nats; ties go to the first label."""
        label = self.shape.label_field
        if self.scored is None or label is None:
            raise BadConfig("only a plan that scores labels can choose among them, got one that writes")
        calibration = self.scored
        return {label.name: max(label.labels, key=lambda each: totals[each] - calibration[each])}

    # -- as a value ---------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The plan as a plain JSON value."""
        head = {"stillroom": VERSION, "kind": "plan", "digest": self.digest}
        return {**head, **self._decides(), "notes": dict(self.notes)}

    @cached_property
    def digest(self) -> str:
        """Content hash of everything that decides what the plan asks and how it reads answers."""
        return digest(self._decides())

    def _decides(self) -> dict[str, Any]:
        # what is absent by default stays out of the hash, so that plans saved before it keep theirs
        scored = {} if self.scored is None else {"scored": dict(self.scored)}
        return {
            **scored,
            "model": self.model,
            "instruction": self.instruction,
            "format": self.format,
            "reasoning": self.reasoning,
            "decoding": asdict(self.decoding),
            "demos": [asdict(demo) for demo in self.demos],
            "shape": self.shape.as_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read back what `as_json` wrote.

        Raises:
            BadConfig: If it is not a plan of this version, or was edited without its digest.
        """
        kind, version = (value.get("kind"), value.get("stillroom")) if isinstance(value, Mapping) else (None, None)
        if kind != "plan" or version != VERSION:
            raise BadConfig(f"a plan must have kind 'plan' and version {VERSION}, got {kind!r} and {version!r}")
        plan = cls(
            Shape.from_json(value["shape"]),
            value["model"],
            value["instruction"],
            tuple(Demo(**demo) for demo in value["demos"]),
            value["format"],
            value["reasoning"],
            Decoding(**value["decoding"]),
            value.get("notes", {}),
            value.get("scored"),
        )
        if plan.digest != value["digest"]:
            raise BadConfig(
                f"a plan's digest must match its content, got {value['digest']} for {plan.digest}",
                mend="If it was edited on purpose, put the new digest in.",
            )
        return plan

    def save(self, path: Path | str) -> Path:
        """Write the plan as readable JSON, atomically."""
        write_atomic(Path(path), pretty(self.as_json()))
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a saved plan. Raises `BadConfig` as `from_json` does."""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise BadConfig(f"a plan file must exist, got {str(path)!r}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{path} is not a saved plan ({type(error).__name__}: {error})") from error

    def module(self, lm: dspy.LM | None = None) -> dspy.Module:
        """The plan as a DSPy module that sends the same requests; `lm` is DSPy's configured one by default."""
        from .module import PlanModule

        return PlanModule(self, lm)


def written(shape: Shape, format: str) -> dict[str, str]:
    """What `format` writes for each label of the one categorical output, by label; empty without one."""
    label = shape.label_field
    if label is None or not FORMATS[format].fits(shape):
        return {}
    return {each: FORMATS[format].write(shape, {label.name: each}) for each in label.labels}


def separable(shape: Shape, format: str) -> bool:
    """Whether labels can be told by what `format` writes for them: none reads as another or begins another.

    A text that begins another is never less likely than it, whatever is asked.
    """
    texts = written(shape, format)
    label = shape.label_field
    if label is None or not texts:
        return False
    if any(_other(shape, format, text, {label.name: each}) for each, text in texts.items()):
        return False
    ordered = sorted(texts.values())
    return not any(after.startswith(before) for before, after in itertools.pairwise(ordered))


def _other(shape: Shape, format: str, text: str, outputs: dict[str, Any]) -> bool:
    try:
        return FORMATS[format].parse(shape, text) != outputs
    except Unparsed:
        return True
