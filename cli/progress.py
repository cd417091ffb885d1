"""Progress bars on standard error: stage, done, time left, and what was spent."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stillroom.ledger import Spent

from .show import Screen, clean

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Bars", "spelled"]

EVERY = 0.5  # seconds between two redraws for spending alone
LAYOUT = "{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}, {remaining} left{postfix}"


class Bars:
    """One bar at a time; a new stage ends the one before. Draws nothing where nothing should be drawn."""

    def __init__(self, screen: Screen) -> None:
        """Draw for `screen`."""
        self._screen = screen
        self._bar: tqdm[Any] | None = None
        self._remark, self._spent, self._drawn = "", Spent(), 0.0
        self._guard = threading.RLock()

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()

    def report(self, stage: str, done: int, of: int, remark: str = "") -> None:
        """Show how far a stage is."""
        if not self._screen.draws:
            return
        with self._guard:
            if self._bar is None or self._bar.desc != stage or self._bar.total != of:
                self.done()
                self._open(stage, of)
            assert self._bar is not None
            self._remark = clean(remark)
            self._bar.n = done
            self._draw()

    def spend(self, spent: Spent) -> None:
        """Show what was spent. Called from the engine's threads."""
        with self._guard:
            self._spent = spent
            if self._bar is not None and time.monotonic() - self._drawn > EVERY:
                self._draw()

    def done(self) -> None:
        """Take the bar away, before other lines are written."""
        with self._guard:
            if self._bar is not None:
                self._bar.close()
            self._bar = None

    def _open(self, stage: str, of: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=of, desc=stage, file=self._screen.err, bar_format=LAYOUT, ascii=True, leave=False)

    def _draw(self) -> None:
        assert self._bar is not None
        self._drawn = time.monotonic()
        said = [self._remark, spelled(self._spent) if self._spent.calls else ""]
        self._bar.set_postfix_str("; ".join(part for part in said if part), refresh=False)
        self._bar.refresh()


def spelled(spent: Spent) -> str:
    """Spending in words: calls, tokens, and dollars where there were any."""
    return f"{spent.calls:,} calls, {spent.tokens:,} tokens" + (f", ${spent.usd:.4f}" if spent.usd else "")
