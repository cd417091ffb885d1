"""The shelf: every preset there is, and the table of published systems with what covers each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, near

from .preset import Preset, read_preset

__all__ = ["System", "preset", "presets", "sample", "systems"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class System:
    """One row of the table of published systems.

    Attributes:
        number: From 1.
        name: As it is known.
        paper: First author and year.
        stage: PT pretraining, SFT, PREF preference data, RM reward model, EVAL, COMP compile.
        kind: D distillation, S self-improvement, V verification or curation.
        defines: What defines it.
        presets: Which presets cover it.
        by: What else covers it, where no preset does: a verb or a module.
        excluded: Why nothing does, or "".
    """

    number: int
    name: str
    paper: str
    stage: str
    kind: str
    defines: str
    presets: tuple[str, ...] = ()
    by: str = ""
    excluded: str = ""

    @property
    def status(self) -> str:
        """`runs`, `excluded` for a reason, or `missing`: neither covered nor excluded."""
        return "runs" if self.presets or self.by else "excluded" if self.excluded else "missing"

    def as_json(self) -> dict[str, Any]:
        """A plain JSON value."""
        return {**vars(self), "presets": list(self.presets), "status": self.status}


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name, in the order of the systems they cover."""
    found = [read_preset(path) for path in sorted((HERE / "presets").glob("*.toml"))]
    return {each.name: each for each in sorted(found, key=lambda each: (min(each.covers, default=99), each.name))}


def preset(name: str) -> Preset:
    """The preset called `name`. Raises `BadConfig` with near names if there is none."""
    if name not in presets():
        raise BadConfig(f"there is no recipe {name!r}", mend=near(name, presets(), "See `stillroom recipes list`."))
    return presets()[name]


@cache
def systems() -> tuple[System, ...]:
    """The table of published systems, in order."""
    rows = tomllib.loads((HERE / "systems.toml").read_text(encoding="utf-8"))["system"]
    cover: dict[int, list[str]] = {}
    for each in presets().values():
        for number in each.covers:
            cover.setdefault(number, []).append(each.name)
    return tuple(System(**row, presets=tuple(cover.get(row["number"], ()))) for row in rows)


def sample(name: str) -> Path:
    """The file of rows of our own called `name`."""
    path = HERE / "samples" / name
    if not path.is_file():
        raise BadConfig(f"there is no sample {name!r}")
    return path
