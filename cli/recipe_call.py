"""`stillroom compile --recipe`: search the best plan for a call of a recipe, or say beforehand what that can take."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .compiled import told
from .order import read_order
from .show import Ending, Screen

if TYPE_CHECKING:
    from stillroom.programs.forecast import Forecast

    from .progress import Bars

__all__ = ["compile_recipe", "foresee_recipe"]


def compile_recipe(args: Namespace, screen: Screen) -> Ending:
    """Compile a call of a recipe by what the recipe's own gates say of its rows."""
    from stillroom.optimizers.recipe_program import compile_call

    with _opened(args, screen) as (wish, bars):
        found = compile_call(**wish, on_progress=bars.report)
        bars.done()
    name = f"{found.recipe}, {found.call}"
    value = {"recipe": found.recipe, "call": found.call, **told(screen, name, found, found.facts)}
    screen.say(f"  next: stillroom recipes run {found.recipe} --plan '{found.call}={value['plan']}' ...")
    return Ending(value)


def foresee_recipe(args: Namespace, screen: Screen) -> tuple[str, Path, Forecast]:
    """What that can take, with the recipe's name and the run folder."""
    from stillroom.optimizers.recipe_program import foresee_call

    with _opened(args, screen, reach=False) as (wish, _):
        return wish["what"].preset.name, wish["run"], foresee_call(**wish)


@contextmanager
def _opened(args: Namespace, screen: Screen, *, reach: bool = True) -> Iterator[tuple[dict[str, Any], Bars]]:
    """What is to be compiled, its models open, as `compile_call` takes it."""
    from stillroom.engines import open_engine
    from stillroom.optimizers import Settings

    order = read_order(Namespace(**{**vars(args), "licence": None, "lm_licence": None, "reuse": None}))
    if order.what.lm is None:
        raise BadConfig(f"{order.preset.name} asks no model, so that there is nothing to compile")
    call = args.call or ""
    run = args.run or Path("runs") / "-".join([order.preset.name, *(call.split() or ["compiled"])])
    given = {name: getattr(args, name) for name in ("trials", "seed", "prefer") if getattr(args, name) is not None}
    with replace(order, run=run).opened(screen, reach=reach) as (what, bars):
        prompter = open_engine(args.prompt_lm) if args.prompt_lm else None
        try:
            yield (
                {
                    "what": what,
                    "call": call,
                    "prompt_lm": prompter,
                    "run": run,
                    "budget": order.budget,
                    "settings": Settings(**given),
                },
                bars,
            )
        finally:
            if prompter is not None:
                prompter.close()
