"""The parts of a flow as values: steps that add fields to a row, and gates between or after them.

    Ask     a plan is asked about the row, once or several times
    Do      a plain function of the row
    Split   one row becomes several
    At      a gate that looks at some fields only

A step reads fields and adds fields. Steps that stand next to each other and do
not need each other's fields run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stillroom.errors import BadConfig
from stillroom.evals.gates import Gate, bound
from stillroom.programs.plan import Plan

from .wanted import Wanted

if TYPE_CHECKING:
    from stillroom.engines import Session

__all__ = ["Ask", "At", "Do", "Part", "Split", "State", "Step"]

State: TypeAlias = Mapping[str, Any]
"""The fields of a row so far."""
Trim: TypeAlias = bool | Literal["sentence"]
"""Whether an answer that was cut off is kept up to its last whole item or line, or its last whole sentence."""


@dataclass(frozen=True)
class Ask:
    """Ask a plan about the row; its outputs become fields of the row.

    An answer that does not parse is asked for once more with the error shown; a row whose answer
    still does not parse is quarantined. Answers that are empty, cut off or refused are not asked
    for again: the gates stop them.

    Attributes:
        name: In passports and funnels.
        plan: What is asked, in writing or by scoring its labels. Its engine is the run's, or the one among the run's others that has its model.
        inputs: The plan's inputs by name, each the name of a field; fields of the same names where not given.
        samples: Independent answers. With more than one, or with `into`, they become one field: a list of the
            outputs of each answer that parsed, in order.
        into: The field for that list; the step's name where not given.
        least: How many of the samples must parse.
        vary: The plan for one row, of the same shape: with demos that suit it, say. Equal results should be one object.
        when: Whether to ask at all; where not, the fields are None. It waits for all steps before it.
        reask: Whether an answer that does not parse is asked for once more.
        trim: Whether an answer that was cut off is kept as far as the items of its list, or its lines, are whole; or
            "sentence", as far as its sentences are.
        shares: A further field for the probability of each label, of a plan with one categorical output and one
            sample: from log-probabilities where the plan scores its labels, else 1 for the label that was written.

    Raises:
        BadConfig: If a setting cannot work, such as several samples at temperature 0.
    """

    name: str
    plan: Plan
    inputs: Mapping[str, str] | None = None
    samples: int = 1
    into: str = ""
    least: int = 1
    vary: Callable[[Wanted, State], Plan] | None = None
    when: Callable[[State], bool] | None = None
    reask: bool = True
    trim: Trim = False
    shares: str = ""

    def __post_init__(self) -> None:
        if self.shares and (self.plan.shape.label_field is None or self.listed):
            raise BadConfig(f"step {self.name!r}: shares need one categorical output and one sample")
        if not 1 <= self.least <= self.samples:
            raise BadConfig(f"samples and least need 1 <= least <= samples, got {self.samples} and {self.least}")
        if self.samples > 1 and self.plan.decoding.temperature == 0:
            raise BadConfig(f"step {self.name!r}: {self.samples} samples at temperature 0 are one, give a temperature")
        unknown = sorted((self.inputs or {}).keys() - {each.name for each in self.plan.shape.inputs})
        if unknown:
            raise BadConfig(f"step {self.name!r}: inputs must be the plan's, got {unknown}")

    @property
    def listed(self) -> bool:
        """Whether its answers become one list."""
        return self.samples > 1 or bool(self.into)

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields it needs."""
        return tuple((self.inputs or {}).get(each.name, each.name) for each in self.plan.shape.inputs)

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields it gives."""
        if self.listed:
            return (self.into or self.name,)
        return (*(each.name for each in self.plan.asked.outputs), *([self.shares] if self.shares else []))

    def shown(self, state: State) -> dict[str, Any]:
        """The plan's inputs, from the fields of a row."""
        names = self.inputs or {}
        return {each.name: state[names.get(each.name, each.name)] for each in self.plan.shape.inputs}

    def as_json(self) -> dict[str, Any]:
        """What decides its requests, for digests."""
        more: dict[str, Any] = {"shares": self.shares} if self.shares else {}
        more |= {"trim": self.trim} if self.trim else {}
        return {"ask": self.name, "plan": self.plan.digest, "inputs": self.inputs, "samples": self.samples,
                "into": self.into, "least": self.least, "reask": self.reask, **more}  # fmt: skip


@dataclass(frozen=True)
class Do:
    """Add fields by a plain function of the row. A row on which it raises is quarantined.

    Attributes:
        name: In passports and funnels; another version of the function deserves another name.
        work: From the fields so far to further ones.
        reads: The fields it needs; None for all that come before it.
        adds: The fields it gives.
        beside: Whether it runs on a thread: what waits or computes for more than some milliseconds.
        when: Whether to do it at all; where not, the fields are None. It waits for all steps before it.
    """

    name: str
    work: Callable[[State], Mapping[str, Any]]
    reads: tuple[str, ...] | None = None
    adds: tuple[str, ...] = ()
    beside: bool = False
    when: Callable[[State], bool] | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known of it, for digests."""
        return {"do": self.name, "reads": self.reads, "adds": self.adds}


@dataclass(frozen=True)
class Split:
    """Make several rows of one: each item of a list field becomes a row that has all other fields too.

    A mapping adds its own fields; anything else takes the list's place. A row with an empty list is rejected here.
    The calls so far are on the papers of the first.

    Attributes:
        name: In passports and funnels.
        field: The list.
        most: Items that are taken, from the first; None for all. Said, it lets forecasts say what comes after it.

    Raises:
        BadConfig: If `most` is under 1.
    """

    name: str
    field: str
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise BadConfig(f"most of {self.name!r} must be at least 1, got {self.most!r}")

    def as_json(self) -> dict[str, Any]:
        """For digests."""
        more = {} if self.most is None else {"most": self.most}
        return {"split": self.name, "field": self.field, **more}


@dataclass(frozen=True)
class At:
    """A gate that sees some fields only, as its candidate's values and as its text.

    Attributes:
        gate: Any gate.
        fields: What it sees, in order.
    """

    gate: Gate
    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.fields:
            raise BadConfig(f"gate {self.gate.name!r} must be given fields to look at, got none")

    def within(self, session: Session) -> At:
        """The same with the gate's calls on the session's store and budget."""
        return replace(self, gate=bound(self.gate, session))


Step: TypeAlias = "Ask | Do"
Part: TypeAlias = "Ask | Do | Split | At | Gate"
