"""What a run has committed before: its rows in their order, and where each of its legs ended.

A leg is what one set of decisions runs through: it ends when nothing is under
way and nothing more is to begin. A longer input, or a wish to try again what was
lost to faults, begins another one. Where legs ended is noted, so that a run that
goes on decides in each of them as it did the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stillroom.errors import FingerprintChanged
from stillroom.rows import EmittedRow
from stillroom.store import Store

from .wanted import Wanted

__all__ = ["History", "Leg"]

KIND = "flow"


@dataclass(eq=False)
class Leg:
    """One leg.

    Attributes:
        retry: Whether it began with what was lost to faults.
        inputs: How many rows the input had, once that was found out.
        rows: How many rows were begun and committed by its end, from the start of the run; None while it lasts.
    """

    retry: bool = False
    inputs: int | None = None
    rows: int | None = None


@dataclass
class _Note:
    block: int
    window: int
    owed: bool = False
    legs: list[Leg] = field(default_factory=lambda: [Leg()])


class History:
    """The committed rows of one run, taken block by block, and its legs.

    Args:
        store: Where they are.
        key: What they are kept under.
        block: Rows of a block.
        window: Most rows under way; None for as it was before, or `usual`.
        usual: The window of a run that has none yet.

    Raises:
        FingerprintChanged: If the run began with another block or window.
    """

    def __init__(self, store: Store, key: str, block: int, window: int | None, usual: int) -> None:
        self._store, self._key = store, key
        known: dict[str, Any] | None = store.notes(KIND).get(key)
        if known is None:
            self._note = _Note(block, window or usual)
            self._save()
        else:
            legs = [Leg(**leg) for leg in known["legs"]]
            self._note = _Note(known["block"], known["window"], known.get("owed", False), legs)
            wanted = (block, window or self._note.window)
            if wanted != (self._note.block, self._note.window):
                raise FingerprintChanged(
                    f"the run began with blocks of {self._note.block} and a window of {self._note.window},"
                    f" got {wanted[0]} and {wanted[1]}",
                    mend="Go on with those, or begin in a new run folder.",
                )
        self._rows = iter(store.rows(key))
        self._ahead: EmittedRow | None = next(self._rows, None)

    @property
    def window(self) -> int:
        """Most rows under way."""
        return self._note.window

    @property
    def legs(self) -> Sequence[Leg]:
        """All legs so far, the last one under way or ended."""
        return tuple(self._note.legs)

    @property
    def owed(self) -> bool:
        """Whether an outage ended the run: what it has cost is tried again when the run goes on."""
        return self._note.owed

    def owe(self, owed: bool) -> None:
        """Note that an outage ended the run, or that what it has cost is being tried again."""
        if owed != self._note.owed:
            self._note.owed = owed
            self._save()

    def begin_leg(self, leg: Leg) -> None:
        """Note that `leg` has begun, if that is not noted."""
        if leg not in self._note.legs:
            self._note.legs.append(leg)
            self._save()

    def end_input(self, leg: Leg, rows: int) -> None:
        """Note how long the input was; before anything follows from it."""
        if leg in self._note.legs and leg.inputs != rows:
            leg.inputs = rows
            self._save()

    def end_leg(self, leg: Leg, rows: int) -> None:
        """Note how many rows were committed by the end of `leg`."""
        if leg in self._note.legs and leg.rows != rows:
            leg.rows = rows
            self._save()

    def take(self, block: Sequence[Wanted]) -> list[list[EmittedRow]] | None:
        """The committed rows of a block, a list for each wanted row; None when they come to an end.

        Raises:
            FingerprintChanged: If other rows stand there.
        """
        found: list[list[EmittedRow]] = []
        for wanted in block:
            rows = list(self._of(wanted))
            if not rows:
                if self._ahead is not None:
                    raise FingerprintChanged(
                        f"row {wanted.place} was to follow, the run has {self._ahead.place}",
                        mend="Was the input or the recipe changed? Begin in a new run folder.",
                    )
                return None
            found.append(rows)
        return found

    def _of(self, wanted: Wanted) -> Iterator[EmittedRow]:
        place = wanted.place
        while self._ahead is not None and (self._ahead.place == place or self._ahead.place.startswith(f"{place}.")):
            if self._ahead.passport.parents[: len(wanted.parents)] != wanted.parents:
                raise FingerprintChanged(
                    f"row {place} was made from another input than the one that stands there now",
                    mend="Rows may be appended to an input; for other changes begin in a new run folder.",
                )
            yield self._ahead
            self._ahead = next(self._rows, None)

    def _save(self) -> None:
        self._store.put_note(KIND, self._key, asdict(self._note))
