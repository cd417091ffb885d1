"""How a system is iterated: which model each round trains, on which rows, and who takes the new model's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stillroom.errors import BadConfig

__all__ = ["Rounds"]


@dataclass(frozen=True)
class Rounds:
    """The rounds of a system, as the table [rounds] of its preset says. `stillroom.programs.rounds` runs them.

    Attributes:
        rounds: Most of them.
        restart: What each round trains: always the `base`, or the `previous` round's model.
        data: Which rounds' records it is trained on: the `last` one's, the `last two`, or `all`.
        refresh: Roles that the newest model takes from the second round on: who samples, who judges.
        seeds: Rows of people that are trained on beside them in every round: `source` names them among the preset's
            sources, every other key is a field of the record and names the column it is made of. None where empty.

    Raises:
        BadConfig: If a setting is not one of these.
    """

    rounds: int
    restart: Literal["base", "previous"] = "previous"
    data: Literal["last", "last two", "all"] = "last"
    refresh: tuple[str, ...] = ("student",)
    seeds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.rounds) is not int or self.rounds < 1:
            raise BadConfig(f"rounds must be a whole number from 1, got {self.rounds!r}")
        if self.restart not in ("base", "previous"):
            raise BadConfig(f"restart must be base or previous, got {self.restart!r}")
        if self.data not in ("last", "last two", "all"):
            raise BadConfig(f"data must be last, last two or all, got {self.data!r}")
        if not isinstance(self.refresh, (tuple, list)) or not all(isinstance(each, str) for each in self.refresh):
            raise BadConfig(f"refresh must be a list of roles, got {self.refresh!r}")
        if self.seeds and not ("source" in self.seeds and len(self.seeds) > 1):
            raise BadConfig(f"seeds must name a source and the columns of its fields, got {dict(self.seeds)}")
        object.__setattr__(self, "refresh", tuple(self.refresh))

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Rounds:
        """From the table of a preset. Raises `BadConfig` naming what it does not know or lacks."""
        known = cls.__dataclass_fields__
        unknown = sorted(table.keys() - known.keys())
        if unknown or "rounds" not in table:
            raise BadConfig(f"[rounds] must have rounds and may have {', '.join(known)}; got {sorted(table)}")
        return cls(**table)

    def trained_on(self, number: int) -> list[int]:
        """The rounds whose records round `number` is trained on, from 1.

        >>> Rounds(4, data="last two").trained_on(3), Rounds(4).trained_on(1)
        ([2, 3], [1])
        """
        first = {"last": number, "last two": max(1, number - 1), "all": 1}[self.data]
        return list(range(first, number + 1))
