"""A preset: one published system as parameters of a method, in a TOML file that people read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig
from stillroom.programs.plan import Decoding

from .method import Call, Method
from .rounds import Rounds

__all__ = ["Preset", "read_preset"]

_DECODING = {each.name for each in fields(Decoding)}
_CALL = {"role", "scored", "reasoning", "instruction", "format"}


@dataclass(frozen=True)
class Preset:
    """One published system.

    Attributes:
        name: As the command line takes it.
        title: As the paper calls it.
        method: The method file it is a preset of.
        covers: Its numbers in the table of systems.
        paper: Authors, year and identifier.
        about: What defines it, in a few sentences.
        emits: Record schemas, the main one first.
        licence: What is known of the licences of its seeds and published rows, and what that means for rows made here.
        differs: Where rows are made otherwise than published, and why.
        sample: For each source, the file of our own rows that stands in where none are given.
        rows: Accepted rows wanted where nobody says how many.
        params: Parameters of the method that differ from its defaults.
        calls: By name of a call, what differs from its defaults: role, instruction, reasoning, decoding.
        gated: Why its rows are never part of a default export, or "".
        rounds: How it is iterated with training between; None where it is not.
    """

    name: str
    title: str
    method: str
    covers: tuple[int, ...]
    paper: str
    about: str
    emits: tuple[str, ...]
    licence: str
    differs: tuple[str, ...] = ()
    sample: Mapping[str, str] = field(default_factory=dict)
    rows: int = 100
    params: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gated: str = ""
    rounds: Rounds | None = None

    def load(self) -> Method[Any]:
        """Its method. Imported when asked for: methods hold typed signatures, and DSPy takes a second to import."""
        found = import_module(f"stillroom.programs.methods.{self.method}").METHOD
        assert isinstance(found, Method)
        return found

    def call(self, name: str) -> Call:
        """One of the method's calls as this preset asks it.

        Raises:
            BadConfig: If the preset sets something that a call does not have.
        """
        call, given = self.load().calls[name], dict(self.calls.get(name, {}))
        unknown = sorted(given.keys() - _DECODING - _CALL)
        if unknown:
            raise BadConfig(f"a call has {', '.join(sorted(_DECODING | _CALL))}, got {unknown[0]!r} in {self.name}")
        decoding = replace(call.decoding, **{key: given[key] for key in given if key in _DECODING})
        return replace(call, decoding=decoding, **{key: given[key] for key in given if key in _CALL})


def read_preset(path: Path) -> Preset:
    """Read a preset's file; its name is the file's.

    Raises:
        BadConfig: If the file cannot be read as a preset, saying what is wrong.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"a preset must be a readable TOML file, got {path.name} ({error})") from error
    known = {each.name for each in fields(Preset)} - {"name"}
    needed = {"title", "method", "covers", "paper", "about", "emits", "licence"}
    unknown, missing = sorted(value.keys() - known), sorted(needed - value.keys())
    if unknown or missing:
        raise BadConfig(
            f"preset {path.name} must have {', '.join(sorted(needed))} and may have "
            f"{', '.join(sorted(known - needed))}; got unknown {unknown}, missing {missing}"
        )
    tuples: dict[str, Any] = {key: tuple(value[key]) for key in ("covers", "emits", "differs") if key in value}
    texts = {key: " ".join(str(value[key]).split()) for key in ("about", "licence", "paper")}
    rounds = {"rounds": Rounds.read(value["rounds"])} if "rounds" in value else {}
    return Preset(name=path.stem, **{**value, **tuples, **texts, **rounds})
