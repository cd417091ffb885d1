"""The report of a run: one self-contained HTML file that tells what was searched, emitted and proved, and what was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import RunReadOnly
from stillroom.programs import Plan
from stillroom.rows import EmittedRow
from stillroom.values import write_atomic

from .drawing import Plot
from .facts import Emission, Facts, Spend, read_facts
from .report_origin import origin_page
from .report_plots import funnel_plot, proof_plot, score_plot, words_plot
from .report_text import shorten, spoken, visible, word_changes

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render_report", "write_report"]

MISSES = 6  # wrong answers shown of each system
STATUSES = ("done", "failed", "lost", "open")


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of the run folder `run` to `out`, and give where it is.

    The run is only read: a report may be written while the run is under way, and of
    a folder that cannot be written when `out` is elsewhere. Equal facts give equal bytes.

    Args:
        run: Folder of the run.
        out: The HTML file; `report.html` in the run folder by default.

    Raises:
        RunError: If `run` holds no run that can be read.
        RunReadOnly: If `out` cannot be written.
    """
    out = Path(run) / "report.html" if out is None else Path(out)
    text = render_report(read_facts(run))
    try:
        write_atomic(out, text)
    except OSError as error:
        raise RunReadOnly(
            f"the report's folder must be writable, got {out.parent} ({error.strerror})",
            mend="Name another file with --out.",
        ) from error
    return out


def render_report(facts: Facts) -> str:
    """The report as HTML text. Everything from models and data is escaped and made visible."""
    plan = facts.plan if isinstance(facts.plan, Plan) else None
    page = {
        "task": plan.shape.name if plan else (facts.proof or {}).get("task", facts.name),
        "run": facts.name,
        "models": facts.models or ((plan.model,) if plan else ()),
        "until": datetime.fromtimestamp(facts.changed, UTC).strftime("%d %B %Y, %H:%M UTC"),
        "spend": [_spent(each) for each in facts.spend],
        "total": _total(facts.spend),
        "search": _search(facts, plan),
        "plan": _plan(facts),
        "emissions": [_emission(each, plan) for each in facts.emissions],
        "overrides": facts.overrides,
        "proof": _proof(facts),
    }
    return _template().render(page)


# -- spend -----------------------------------------------------------------------------


def _spent(spend: Spend) -> dict[str, Any]:
    counts = {status: spend.calls.get(status, 0) for status in STATUSES}
    return {
        "phase": spend.phase,
        **counts,
        "tokens_in": spend.tokens_in,
        "tokens_out": spend.tokens_out,
        "usd": spend.usd,
        "seconds": spend.seconds,
    }


def _total(spends: Sequence[Spend]) -> dict[str, Any]:
    rows = [_spent(spend) for spend in spends]
    names = (*STATUSES, "tokens_in", "tokens_out", "usd", "seconds")
    return {"phase": "together", **{name: sum(row[name] for row in rows) for name in names}}


# -- compile -----------------------------------------------------------------------------


def _search(facts: Facts, plan: Plan | None) -> dict[str, Any] | None:
    """The trials as table rows, each with the number of its instruction and of the trial it repeats."""
    if not facts.trials:
        return None
    instructions: dict[str, int] = {}
    first: dict[str, int] = {}
    rows = []
    for number, trial in enumerate(facts.trials, 1):
        rows.append(
            {
                **trial,
                "number": number,
                "instruction_number": instructions.setdefault(trial["instruction"], len(instructions) + 1),
                "repeats": first.get(trial["plan"]),
                "demos_drawn": trial["params"].get("demos", ""),
                "chosen": ", ".join(filter(None, (_choices(trial["params"]), trial.get("origin")))),
            }
        )
        first.setdefault(trial["plan"], number)
    winner = first.get(plan.digest) if plan and facts.compiled and facts.compiled["established"] else None
    complete = [row for row in rows if row["state"] == "complete"]
    return {
        "trials": rows,
        "instructions": list(instructions),
        "winner": winner,
        "best": max(complete, key=lambda row: row["mean"]) if complete else rows[0],
        "baseline": rows[0],
        "compiled": facts.compiled,
        "plot": _drawn(score_plot(facts.trials, None if winner is None else winner - 1)),
    }


def _choices(params: Mapping[str, Any]) -> str:
    """The searched settings that have no column of their own."""
    said = []
    if params.get("reasoning"):
        said.append("reasoning")
    if "constrained" in params:
        said.append("constrained" if params["constrained"] else "free")
    if params.get("scored"):
        said.append("labels scored")
    if params.get("temperature"):
        said.append(f"temperature {params['temperature']:g}")
    return ", ".join(said)


def _plan(facts: Facts) -> dict[str, Any] | None:
    """The plan beside the baseline: their settings line by line, their instructions word by word."""
    plan, baseline = facts.plan, facts.baseline
    if not isinstance(plan, Plan):
        return None if plan is None else {"fault": plan}
    other = baseline if isinstance(baseline, Plan) else None
    mine, theirs = _settings(plan), _settings(other) if other else {}
    return {
        "fault": None,
        "plan": plan,
        "demos": [(spoken(demo.inputs), spoken(demo.outputs)) for demo in plan.demos],
        "settings": [(name, theirs.get(name), value) for name, value in mine.items()],
        "baseline": other,
        "baseline_fault": baseline if isinstance(baseline, str) else None,
        "same": other is not None and other.digest == plan.digest,
        "changes": word_changes(other.instruction, plan.instruction) if other else [],
    }


def _settings(plan: Plan) -> dict[str, str]:
    decoding = plan.decoding
    return {
        "demos": str(len(plan.demos)),
        "format": plan.format,
        "reasoning": "yes" if plan.reasoning else "no",
        "temperature": f"{decoding.temperature:g}",
        "top p": "all" if decoding.top_p is None else f"{decoding.top_p:g}",
        "longest answer": f"{decoding.max_tokens} tokens",
        "constrained decoding": "yes" if decoding.constrained else "no",
        "digest": plan.digest,
    }


# -- emit -----------------------------------------------------------------------------


def _emission(emission: Emission, plan: Plan | None) -> dict[str, Any]:
    accepted, stopped = emission.words["accepted"], emission.words["stopped"]
    demos = [sum(len(str(value).split()) for value in demo.inputs.values()) for demo in plan.demos] if plan else []
    short = emission.recorded["shortfall"] if emission.recorded else {}
    cells = emission.cells.keys() | short.keys()
    return {
        "facts": emission,
        "ended": emission.recorded is not None,
        "origin": origin_page(emission.provenance),
        "out": sum(out for _, _, out in emission.gates),
        **{fate: emission.fates.get(fate, 0) for fate in ("audit", "surplus", "quarantined")},
        "mended": _mended(emission.recorded or {}),
        "remarks": _remarks(emission),
        "short": sum(short.values()),
        "cells": [(cell, *emission.cells.get(cell, (0, 0)), short.get(cell, 0)) for cell in sorted(cells)],
        "most": max((kept for kept, _ in emission.cells.values()), default=0),
        "out_by": {gate: out for gate, _, out in emission.gates},
        "kept": [_row(row) for row in emission.kept],
        "stopped": {gate: [_row(row) for row in rows] for gate, rows in emission.stopped.items()},
        "lengths": [(name, _spread(counts)) for name, counts in (("accepted", accepted), ("stopped", stopped))],
        "funnel_plot": _drawn(funnel_plot(emission.written, emission.gates, emission.accepted, emission.recipe)),
        "words_plot": _drawn(words_plot(accepted, stopped, demos, emission.recipe)) if accepted or stopped else None,
    }


def _mended(noted: Mapping[str, Any]) -> str:
    """How many answers were not in their form at first."""
    repaired, reasked = noted.get("repaired", 0), noted.get("reasked", 0)
    if not repaired and not reasked:
        return ""
    return f"{repaired} answers were mended JSON, {reasked} had to be asked for a second time."


def _remarks(emission: Emission) -> list[str]:
    """Where the rows contradict what the emission noted of itself, or the gates do not line up."""
    remarks = []
    noted = emission.recorded
    if noted and (noted["written"], noted["accepted"]) != (emission.written, emission.accepted):
        remarks.append(
            f"The emission noted {noted['written']} written and {noted['accepted']} accepted rows, the run holds {emission.written} and {emission.accepted}; the rows are counted here."
        )
    left = emission.written
    for gate, reached, out in emission.gates:
        if reached != left:
            remarks.append(f"{left} rows were left before gate {gate}, but {reached} have its verdict.")
        left = reached - out
    return remarks


def _row(row: EmittedRow) -> dict[str, Any]:
    """A row as shown: its inputs, the outputs it was asked for, and why it was stopped."""
    wanted = row.passport.target.get("outputs", {})
    style = row.passport.target.get("style", {})
    inputs = {name: value for name, value in row.values.items() if name not in wanted}
    return {
        "text": spoken(inputs),
        "wanted": spoken(wanted),
        "style": ", ".join(map(str, style.values())),
        "place": row.place,
        "why": row.why,
        "status": row.status,
        "id": row.id,
    }


def _spread(counts: Mapping[int, int]) -> dict[str, int] | None:
    """Rows and the quantiles of their words."""
    rows = sum(counts.values())
    if not rows:
        return None
    ordered = sorted(counts)
    quantiles = {
        "shortest": 0.0,
        "a quarter below": 0.25,
        "half below": 0.5,
        "three quarters below": 0.75,
        "longest": 1,
    }
    spread = {"rows": rows}
    for name, share in quantiles.items():
        seen = 0
        for words in ordered:
            seen += counts[words]
            if seen >= max(1, share * rows):
                spread[name] = words
                break
    return spread


# -- prove -----------------------------------------------------------------------------


def _proof(facts: Facts) -> dict[str, Any] | None:
    if facts.proof is None:
        return None
    names = [str(each["name"]) for each in facts.proof["results"]]
    misses = {
        name: [
            {"row": spoken(miss["row"]), "got": spoken(miss["got"]), "why": miss["why"]}
            for miss in facts.misses[name][:MISSES]
        ]
        for name in names
        if name in facts.misses
    }
    # the verdict without its figures, which stand in brackets at the end
    short = [f"{words.rsplit(' (', 1)[0]}." for words in facts.proof["words"] if words.endswith(").")]
    return {
        **facts.proof,
        "short": short or facts.proof["words"][:1],
        "misses": misses,
        "plot": _drawn(proof_plot(facts.proof["results"], facts.proof["metric"])),
    }


# -- the page -----------------------------------------------------------------------------


def _drawn(plot: Plot) -> dict[str, Any]:
    """Mark plots as markup: they were spelled by our own writer, with every label of data escaped."""
    from markupsafe import Markup

    return {layout: Markup(text) for layout, text in plot.items()}  # noqa: S704


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_seen
    )
    environment.filters |= {
        "cut": lambda text, limit: shorten(str(text), limit),
        "count": lambda number: f"{number:,}",
        "score": lambda number: f"{number:.3f}",
        "capital": lambda text: text[:1].upper() + text[1:],
        "first_line": lambda text: text.strip().split("\n", 1)[0],
        "signed": lambda number: f"{number:+.3f}",
        "time": _time,
        "usd": lambda number: f"${number:,.4f}" if number else "0",
    }
    return environment.from_string((files(__package__) / "report.html.jinja").read_text(encoding="utf-8"))


def _seen(value: Any) -> Any:
    """What an expression of the template prints: markup is ours and stays, text is made visible."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
