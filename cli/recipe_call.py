"""`stillroom compile --recipe`: search the best plan for a call of a recipe."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from stillroom.errors import BadConfig

from .compiled import told
from .order import read_order
from .show import Ending, Screen

__all__ = ["compile_recipe"]


def compile_recipe(args: Namespace, screen: Screen) -> Ending:
    """Compile a call of a recipe by what the recipe's own gates say of its rows."""
    from stillroom.engines import open_engine
    from stillroom.optimizers import Settings
    from stillroom.optimizers.recipe_program import compile_call

    order = read_order(Namespace(**{**vars(args), "licence": None, "lm_licence": None, "reuse": None}))
    if order.lm is None:
        raise BadConfig(f"{order.preset.name} asks no model, so that there is nothing to compile")
    call = args.call or ""
    order = replace(
        order, run=args.run or Path("runs") / "-".join([order.preset.name, *(call.split() or ["compiled"])])
    )
    given = {name: getattr(args, name) for name in ("trials", "seed", "prefer") if getattr(args, name) is not None}
    with order.opened(screen) as (models, bars):
        prompter = open_engine(args.prompt_lm) if args.prompt_lm else None
        try:
            found = compile_call(
                order.preset,
                call,
                lm=models["teacher"],
                roles={role: engine for role, engine in models.items() if role != "teacher"},
                given=order.given,
                samples=order.samples,
                rows=order.rows,
                params=order.params,
                plans=order.plans,
                prompt_lm=prompter,
                run=order.run,
                budget=order.budget,
                settings=Settings(**given),
                on_progress=bars.report,
            )
        finally:
            if prompter is not None:
                prompter.close()
        bars.done()
    name = f"{found.recipe}, {found.call}"
    value = {"recipe": found.recipe, "call": found.call, **told(screen, name, found, found.facts)}
    screen.say(f"  next: stillroom recipes run {found.recipe} --plan '{found.call}={value['plan']}' ...")
    return Ending(value)
