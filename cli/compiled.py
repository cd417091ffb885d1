"""What is told of a search, of a task or of a call of a recipe."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stillroom.errors import BadConfig

from .emission import indented, spent_of, words
from .show import Screen

if TYPE_CHECKING:
    from stillroom.programs import Plan

__all__ = ["recipe_is_meant", "told"]

OF_RECIPE = ("call", "role", "source", "samples", "many", "param", "plan", "gated")
"""Options that only a recipe takes."""


class Compiled(Protocol):
    """A search that has ended."""

    @property
    def plan(self) -> Plan: ...
    @property
    def baseline(self) -> Plan: ...
    @property
    def run(self) -> Path: ...
    @property
    def verdict(self) -> str: ...


def recipe_is_meant(args: Namespace) -> bool:
    """Whether a call of a recipe is to be compiled, and not a task. Raises `BadConfig` where it is both, or neither."""
    recipe = args.recipe is not None
    if recipe == (args.task is not None):
        got = "both" if recipe else "neither"
        raise BadConfig(f"compile takes a task file or --recipe NAME, got {got}")
    extra = [name for name in OF_RECIPE if getattr(args, name) not in (None, False)]
    if extra and not recipe:
        option = {"many": "rows"}.get(extra[0], extra[0])
        raise BadConfig(f"--{option} is of a recipe, got it with a task file", mend="Leave it out, or name a --recipe.")
    return recipe


def told(screen: Screen, name: str, found: Compiled, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tell people of it, and give what `--json` says."""
    plan, baseline = found.plan, found.baseline
    value = {
        "run": str(found.run),
        "model": plan.model,
        "verdict": found.verdict,
        **{key: facts[key] for key in ("established", "p", "best", "baseline", "trials", "ended")},
        "format": plan.format,
        "demos": len(plan.demos),
        "plan": str(found.run / "plan.json"),
        "spent": spent_of(found.run, "compile"),
    }
    screen.say(
        f"{name}: compiled for {plan.model}",
        f"  {found.verdict}",
        *indented(
            [
                ("what", "search score", "format", "demos"),
                ("baseline", facts["baseline"], baseline.format, len(baseline.demos)),
                ("chosen", facts["best"] if facts["established"] else facts["baseline"], plan.format, len(plan.demos)),
            ]
        ),
        f"  {facts['trials']} candidates, {facts['ended']}; {words(value['spent'])}",
        f"  plan: {value['plan']}",
    )
    return value
