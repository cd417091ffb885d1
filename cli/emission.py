"""What is told of rows that were emitted, or of the user's own that were answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.ledger import Spent

from .progress import spelled
from .show import table

if TYPE_CHECKING:
    from stillroom.programs import Emitted

__all__ = ["SHORT", "facts_of", "indented", "lines_of", "spent_of", "words"]

SHORT = 6  # exit code of an emission that left quotas unfilled, and of rows that were left without an answer


def facts_of(emitted: Emitted, run: Path, phase: str) -> dict[str, Any]:
    """What `--json` says."""
    return {
        "run": str(run),
        "accepted": len(emitted.rows),
        "written": emitted.written,
        "funnel": [{"gate": gate, "in": reached, "stopped": stopped} for gate, reached, stopped in emitted.funnel],
        "shortfall": dict(emitted.shortfall),
        "why": emitted.why(),
        "fates": dict(emitted.fates),
        **{name: emitted.counts.get(name, 0) for name in ("repaired", "reasked")},
        "rows": str(run / "rows.jsonl"),
        "rejects": str(run / "rejects.jsonl"),
        "spent": spent_of(run, phase),
    }


def lines_of(emitted: Emitted, spent: dict[str, Any]) -> list[str]:
    """The funnel, the fates and what is missing, for people."""
    return [
        *indented([("gate", "reached", "stopped"), *emitted.funnel]),
        f"  {_stopped(emitted)}; {words(spent)}",
        *(f"  not filled: {line}" for line in emitted.why()),
    ]


def spent_of(run: Path, phase: str) -> dict[str, Any]:
    """What a phase has cost over all its sessions, as the run's store has it."""
    from stillroom.store import Store

    with Store(run) as store:
        spent = store.spent(phase)
    return {
        "calls": spent.calls,
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "usd": spent.usd,
        "seconds": round(spent.seconds, 3),
    }


def words(spent: dict[str, Any]) -> str:
    """Spending in words."""
    return f"{spelled(Spent(**spent))}, {spent['seconds']:.0f} s"


def indented(rows: list[Any]) -> list[str]:
    """A table under a heading."""
    return [f"  {line}" for line in table(rows)]


def _stopped(emitted: Emitted) -> str:
    fates = emitted.fates
    told = [f"{fates.get('rejected', 0)} rejected", f"{fates.get('audit', 0)} for a person to look at"]
    if fates.get("surplus"):
        told.append(f"{fates['surplus']} beyond their quotas")
    if fates.get("quarantined"):
        told.append(f"{fates['quarantined']} lost to faults (`stillroom retry RUN` tries them again)")
    return ", ".join(told)
