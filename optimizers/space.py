"""The search space: what may vary in each part, as parameters that a sampler suggests.

The space only grows: proposals add instructions, trials add demo sets. It can be
printed (`Space.describe`) before and after a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from stillroom.programs import Demo

from .subject import Choice, Part, Subject

__all__ = ["DemoSet", "Options", "Params", "Space", "key"]

Params: TypeAlias = Mapping[str, Any]
"""Values of a candidate's parameters by name: `format`, or `part.format` in a subject of several parts."""

REASONING_ROOM = 256  # tokens more where the model writes its reasoning first


@dataclass(frozen=True)
class DemoSet:
    """A named, ordered choice of demos; none is a choice too. `reasoned`: they show reasoning."""

    name: str
    demos: tuple[Demo, ...] = ()
    reasoned: bool = False


@dataclass
class Options:
    """What one part may be; the first of each is the part as declared."""

    part: Part
    default: Choice
    instructions: list[str]
    demos: list[DemoSet]
    temperatures: Sequence[float]

    @property
    def fixed(self) -> dict[str, tuple[Any, ...]]:
        """Choices that do not grow, by parameter."""
        return {
            "format": self.part.formats,
            "reasoning": self.part.reasoning,
            "temperature": tuple(dict.fromkeys((self.default.decoding.temperature, *self.temperatures))),
            "constrained": (True, False),
            "scored": (False, True) if self.part.scorable else (False,),
        }

    def choice(self, params: Params) -> Choice:
        """The part asked as `params` (without the part's name) say."""
        reasoning = params["reasoning"]
        scored = params["scored"] and not reasoning
        demos = self.set_named(params["demos"])
        decoding = replace(
            self.default.decoding,
            temperature=0.0 if scored else params["temperature"],
            max_tokens=self.default.decoding.max_tokens + (REASONING_ROOM if reasoning else 0),
            # what is scored is not decoded: two such candidates are one
            constrained=True if scored else params["constrained"],
        )
        return Choice(
            self.instructions[params["instruction"]],
            _fitting(demos, reasoning, self.part),
            "json" if reasoning and params["format"] == "bare" else params["format"],
            reasoning,
            decoding,
            scored,
        )

    def add_instruction(self, text: str) -> int | None:
        """The place of a new instruction; `None` if it is there already."""
        if text in self.instructions:
            return None
        self.instructions.append(text)
        return len(self.instructions) - 1

    def add_demos(self, wanted: DemoSet) -> str | None:
        """The name under which a new set is kept; `None` if the same demos in the same order are there already."""
        if any(wanted.demos == known.demos for known in self.demos):
            return None
        taken = {known.name for known in self.demos}
        number, name = 1, wanted.name
        while name in taken:
            number += 1
            name = f"{wanted.name}.{number}"
        self.demos.append(replace(wanted, name=name))
        return name

    def set_named(self, name: str) -> DemoSet:
        """The demo set of this name."""
        return next(known for known in self.demos if known.name == name)


def _fitting(wanted: DemoSet, reasoning: bool, part: Part) -> tuple[Demo, ...]:
    """The demos as they can be shown: with reasoning only those that have it, without it none of it."""
    if wanted.reasoned == reasoning or "reasoning" in part.outputs:  # a part that reasons by itself takes both
        return wanted.demos
    return () if reasoning else tuple(replace(demo, outputs=_unreasoned(demo.outputs)) for demo in wanted.demos)


def _unreasoned(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outputs.items() if name != "reasoning"}


@dataclass
class Space:
    """The options of every part."""

    options: dict[str, Options] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: Subject, temperatures: Sequence[float]) -> Space:
        """The space of a subject before anything was learnt about it."""
        options = {}
        for part in subject.parts:
            default = subject.default(part)
            none = DemoSet("none")
            sets = [DemoSet("declared", default.demos, "reasoning" in part.outputs), none] if default.demos else [none]
            options[part.name] = Options(part, default, [default.instruction], sets, temperatures)
        return cls(options)

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Every parameter with its choices now; those with one choice are left out."""
        found: dict[str, tuple[Any, ...]] = {}
        for name, options in self.options.items():
            found[key(name, "instruction")] = tuple(range(len(options.instructions)))
            found[key(name, "demos")] = tuple(known.name for known in options.demos)
            found |= {key(name, what): values for what, values in options.fixed.items()}
        return {name: values for name, values in found.items() if len(values) > 1}

    @property
    def declared(self) -> dict[str, Any]:
        """The parameters of the subject as declared."""
        found: dict[str, Any] = {}
        for name, options in self.options.items():
            plain = {"instruction": 0, "demos": options.demos[0].name, "format": options.default.format}
            plain |= {"reasoning": options.default.reasoning, "temperature": options.default.decoding.temperature}
            plain |= {"constrained": options.default.decoding.constrained, "scored": False}
            found |= {key(name, what): value for what, value in plain.items()}
        return found

    def complete(self, params: Params) -> dict[str, Any]:
        """`params`, with the only choice for those left out."""
        return {**self.declared, **params}

    def choose(self, params: Params) -> dict[str, Choice]:
        """The choice of every part that `params` (complete) stand for."""
        return {
            name: options.choice({what: params[key(name, what)] for what in ("instruction", "demos", *options.fixed)})
            for name, options in self.options.items()
        }

    def describe(self) -> dict[str, Any]:
        """The space as a plain JSON value."""
        return {
            name or "answer": {
                "instructions": list(options.instructions),
                "demos": {known.name: [demo.id for demo in known.demos] for known in options.demos},
                **{what: list(values) for what, values in options.fixed.items()},
            }
            for name, options in self.options.items()
        }


def key(part: str, what: str) -> str:
    """The name of a parameter."""
    return f"{part}.{what}" if part else what
