"""What a command writes: lines for people, or one JSON object; never what a terminal would obey."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Ending", "Screen", "clean", "table"]

# controls (ANSI begins with one), formats (they reorder text), surrogates, line and paragraph separators
UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True)
class Ending:
    """How a verb ended: its facts for `--json`, and its exit code."""

    value: dict[str, Any]
    code: int = 0


def clean(text: object) -> str:
    r"""Spell out every character that a terminal would obey or hide.

    >>> clean("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(
        character if unicodedata.category(character) not in UNSHOWN else _spelled(character) for character in str(text)
    )


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table with columns as wide as needed; numbers stand to the right."""
    spelled = [[clean(_number(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*spelled, strict=True)]
    right = [all(isinstance(row[place], (int, float)) for row in rows[1:]) for place in range(len(widths))]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in spelled
    ]


@dataclass
class Screen:
    """Where one command writes.

    Attributes:
        as_json: One JSON object on standard output at the end, and nothing else.
        bars: Draw progress bars also where standard error is no terminal.
        notes: What weakens a result, one line each; shown once.
    """

    as_json: bool = False
    bars: bool = False
    notes: list[str] = field(default_factory=list)

    def __enter__(self) -> Screen:
        self._out, self._err = sys.stdout, sys.stderr
        for stream in (self._out, self._err):
            if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 must not end the command
                stream.reconfigure(errors="backslashreplace")
        self._stack = ExitStack()
        self._stack.enter_context(warnings.catch_warnings())
        self._other, warnings.showwarning = warnings.showwarning, self._warned
        self._log = _Lines(self)
        logging.getLogger("stillroom").addHandler(self._log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("stillroom").removeHandler(self._log)
        self._stack.close()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Send what libraries and task files print to standard error: standard output is the command's own."""
        with redirect_stdout(self._err):
            yield

    @property
    def draws(self) -> bool:
        """Whether progress bars are drawn."""
        return self.bars or (not self.as_json and self._err.isatty())

    @property
    def err(self) -> TextIO:
        """Where bars are drawn."""
        return self._err

    def say(self, *lines: str) -> None:
        """Write lines for people; each is cleaned."""
        if not self.as_json:
            _write(self._out, [clean(line) for line in lines])

    def note(self, text: str) -> None:
        """Write one line about what weakens a result, the first time it comes up."""
        line = clean(" ".join(text.split()))
        if line not in self.notes:
            self.notes.append(line)
            if not self.as_json:
                _write(self._err, [f"note: {line}"])

    def end(self, value: Mapping[str, Any]) -> None:
        """Write the JSON object, when that was asked for."""
        if self.as_json:
            _write(self._out, [json.dumps({**value, "notes": self.notes}, allow_nan=False)])

    def fail(self, type: str, rule: str, mend: str = "", problems: Sequence[str] = ()) -> None:
        """Tell an error: its rule, its further lines, how to mend it."""
        first, *more = rule.splitlines() or [type]
        if self.as_json:
            error: dict[str, Any] = {"type": type, "rule": first, "mend": mend}
            _write(self._out, [json.dumps({"error": error | ({"problems": list(problems)} if problems else {})})])
        else:
            mended = [f"  mend: {clean(mend)}"] if mend else []
            _write(self._err, [f"error: {clean(first)}", *map(clean, more), *mended])

    def stopped(self, mend: str) -> None:
        """Tell that Ctrl-C ended the command and nothing was lost."""
        if self.as_json:
            self.fail("Stopped", "stopped by Ctrl-C", mend)
        else:
            _write(self._err, [f"stopped; {mend}"])

    def crash(self, error: Exception) -> None:
        """Keep the traceback of an error nobody foresaw."""
        _write(self._err, traceback.format_exception(error), end="")
        if self.as_json:
            self.fail(type(error).__name__, str(error), "This is a bug of stillroom, or of the task file's own code.")

    def _warned(self, message: Any, category: type[Warning], *place: Any, **settings: Any) -> None:
        # by name: the class lives behind imports that a verb may never need
        if category.__name__ == "DataWarning":
            self.note(str(message))
        else:
            self._other(message, category, *place, **settings)


class _Lines(logging.Handler):
    """Our own log lines on standard error, one clean line each."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`."""
        _write(self.screen.err, [clean(record.getMessage())])


def _write(stream: TextIO, lines: Sequence[str], end: str = "\n") -> None:
    stream.write("".join(f"{line}{end}" for line in lines))
    stream.flush()


def _number(cell: object) -> object:
    return f"{cell:.3f}" if isinstance(cell, float) else "" if cell is None else cell


def _spelled(character: str) -> str:
    # the escape a programmer would write: \n, \x1b, \u202e
    return character.encode("unicode_escape").decode("ascii")
