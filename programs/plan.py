"""A compiled program as a value: a readable, frozen plan that renders requests and reads answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig
from stillroom.signatures import FORMATS, Example, Field, Format, Shape, Unparsed
from stillroom.signatures.formats import system_text, user_text
from stillroom.values import digest, pretty, write_atomic

if TYPE_CHECKING:
    import dspy
    from dspy.lm15 import Message, Request, Response

__all__ = ["REASONING", "Decoding", "Demo", "Plan"]

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
        notes: Where it comes from (scores, trials); not part of its digest.

    Raises:
        BadConfig: If the format is unknown or cannot ask for this shape.
    """

    shape: Shape
    model: str
    instruction: str
    demos: tuple[Demo, ...] = ()
    format: str = "json"
    reasoning: bool = False
    decoding: Decoding = Decoding()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise BadConfig(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if not FORMATS[self.format].fits(self.asked):
            raise BadConfig(f"format {self.format!r} cannot ask for {[each.name for each in self.asked.outputs]}")

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

    def render(self, inputs: Mapping[str, Any], *, seed: int | None = None) -> Request:
        """The request for one row. Equal inputs and seed give equal requests."""
        from dspy.lm15 import Message, Request

        config = self._config if seed is None else replace(self._config, seed=seed)
        return Request(
            model=self.model,
            system=self.system,
            messages=(*self._turns, Message.user(user_text(self.shape, inputs))),
            config=config,
        )

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
        return {
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
