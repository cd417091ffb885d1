"""`stillroom salvage`: put what can still be read of a damaged run in its place."""

from __future__ import annotations

from argparse import Namespace

from .show import Ending, Screen

__all__ = ["salvage"]


def salvage(args: Namespace, screen: Screen) -> Ending:
    """Salvage a run folder and say what was kept."""
    from stillroom.salvage import salvage as salvage_run

    saved = salvage_run(args.run)
    kept = ", ".join(f"{count} {table}" for table, count in saved.kept.items())
    screen.say(f"kept: {kept}", f"the damaged file: {saved.damaged}")
    return Ending({"run": str(args.run), "kept": dict(saved.kept), "damaged": str(saved.damaged)})
