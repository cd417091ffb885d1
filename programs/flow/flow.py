"""A flow as a value: what is wanted, what is done for each row, and what it must pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from stillroom.errors import BadConfig
from stillroom.values import digest

from .draft import Papers
from .passing import Asking, Splitting, Turn, asks
from .steps import Ask, At, Do, Part, Split
from .wanted import Source
from .working import Steps

__all__ = ["BLOCK", "INPUT", "QUOTA", "Flow", "Section", "fields_of", "sections"]

BLOCK = 32
INPUT, QUOTA = "input", "quota"
"""What funnels call the first check (of an input row) and the last one (of a quota that is full already)."""

Section = Steps | Turn | Asking | Splitting


@dataclass(frozen=True)
class Flow:
    """Everything that decides the rows of a run, next to its engines.

    Attributes:
        name: For people.
        source: What is wanted.
        parts: Steps and gates in their order. A gate stops a row before later steps are paid for.
        emits: The fields of an emitted row; all of them where none are named.
        text: The fields that make the text of a row, for gates that compare texts; all emitted ones where none are named.
        recipe: Digest of what the rows are made by; of the parts where not given.
        attempts: Tries of a slot, and rows begun for each one wanted.
        seed: Of all sampling.
        block: Rows that pass gates and are committed together.
        window: Most rows under way at once, a multiple of `block`; by the engine's concurrency where None.

    Raises:
        BadConfig: If a setting cannot work, two parts have one name, or a step reads what nothing gives.
    """

    name: str
    source: Source
    parts: tuple[Part, ...]
    emits: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    recipe: str = ""
    attempts: int = 1
    seed: int = 0
    block: int = BLOCK
    window: int | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.block < 1:
            raise BadConfig(f"attempts and block must be at least 1, got {self.attempts!r} and {self.block!r}")
        if self.window is not None and (self.window < self.block or self.window % self.block):
            raise BadConfig(f"window must be a multiple of block ({self.block}), got {self.window!r}")
        last = max((at for at, part in enumerate(self.parts) if isinstance(part, (Ask, Do, Split))), default=-1)
        loose = [name for name, part in zip(self.names[: last + 1], self.parts, strict=False) if hasattr(part, "fresh")]
        if loose:
            raise BadConfig(
                f"a gate that remembers must be told what it looks at where steps follow, got {loose[0]!r}",
                mend="Put it in At(gate, fields).",
            )
        twice = [name for name, count in Counter([INPUT, *self.names, QUOTA]).items() if count > 1]
        if twice:
            raise BadConfig(f"the parts of a flow must have names of their own, got {twice} twice")

    @property
    def names(self) -> list[str]:
        """The names of the parts, in their order."""
        return [part.gate.name if isinstance(part, At) else part.name for part in self.parts]

    @property
    def gates(self) -> list[str]:
        """The names of the gates among them."""
        steps = (Ask, Do, Split)
        return [name for name, part in zip(self.names, self.parts, strict=True) if not isinstance(part, steps)]

    @property
    def key(self) -> str:
        """What its rows are kept under in a store."""
        return self.recipe or digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """What is known of it as a plain value, for digests."""
        return {
            "name": self.name,
            "parts": [
                part.as_json() if isinstance(part, (Ask, Do, Split)) else {"gate": name, "fields": fields_of(part)}
                for name, part in zip(self.names, self.parts, strict=True)
            ],
            "emits": list(self.emits),
            "text": list(self.text),
            "attempts": self.attempts,
            "seed": self.seed,
        }

    def check(self, fields: Mapping[str, Any]) -> None:
        """See that every step finds what it reads in a row that starts from `fields`.

        Raises:
            BadConfig: Naming the step and the fields that nothing gives.
        """
        known = set(fields)
        for part in self.parts:
            if isinstance(part, (Ask, Do)):
                missing = sorted(set(part.reads or ()) - known)
                if missing:
                    raise BadConfig(f"step {part.name!r} reads {missing}, the row has {sorted(known)}")
                known.update(part.adds)
            elif isinstance(part, Split) and part.field not in known:
                raise BadConfig(f"step {part.name!r} splits {part.field!r}, the row has {sorted(known)}")


def fields_of(part: Any) -> list[str]:
    """The fields a gate is confined to; none for all of them."""
    return list(part.fields) if isinstance(part, At) else []


def sections(parts: Sequence[Part], papers: Papers) -> list[Section]:
    """Put together what rows do together: steps that follow each other, and gates that are passed in turn."""
    found: list[Section] = []
    for kind, group in groupby(parts, _kind):
        together: list[Any] = list(group)
        if kind is Steps:
            found.append(Steps(together))
        elif kind is Turn:
            found.append(Turn(together, papers, sum(isinstance(section, Splitting) for section in found)))
        else:
            found += [kind(part, papers) for part in together]
    return found


def _kind(part: Part) -> Any:
    if isinstance(part, (Ask, Do)):
        return Steps
    if isinstance(part, Split):
        return Splitting
    return Asking if asks(part.gate if isinstance(part, At) else part) else Turn
