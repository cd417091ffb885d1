"""The page of a sweep: one self-contained HTML file with its plots, means, differences and cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import RunReadOnly
from stillroom.values import write_atomic

from .drawing import RULE, Plot, bare, draw_plot, label
from .report_text import shorten, visible

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template

    from stillroom.optimizers.sweep import Cell, State, Sweep

__all__ = ["render_page", "write_page"]

Frames = tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]
"""Cells, means over seeds, differences to the baseline."""

# told apart by people who do not tell red from green (Okabe and Ito 2008), on light and dark paper, and by mark
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#c98a00", "#3d9fd6", "#8a63c9", "#8c8c8c")
MARKS = "osD^vPX*"
PANELS = 12  # tasks and models with a plot of their own; the table has all

MEANS = ("task", "model", "strategy", "budget", "cells", "search score", "test score", "calls", "tokens", "seconds")
GAPS = ("strategy", "score", "pairs", "difference", "better", "worse", "even")
CELLS = (
    "task",
    "model",
    "strategy",
    "budget",
    "seed",
    "search score",
    "test score",
    "calls",
    "tokens",
    "seconds",
    "ended",
)

PAGE = """\
{% macro table(label, columns, rows) %}
<div class="table" role="region" tabindex="0" aria-label="{{ label }}"><table>
<caption><span>{{ label }}</span></caption>
<thead><tr>{% for column in columns %}<th{% if rows and rows[0][loop.index0] is number %} class="n"{% endif %}>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for value in row %}<td{% if value is number %} class="n"{% endif %}>{{ value|cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endmacro %}
{% macro plot(drawn) %}
<figure><div class="wide">{{ drawn.wide }}</div><div class="narrow">{{ drawn.narrow }}</div></figure>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="stillroom">
<title>{{ name }}: sweep</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ name }}</h1>
<p>{{ done }} of {{ cells|length }} cells done{% if failed %}, {{ failed }} failed{% endif %}. Tasks: {{ tasks|join(", ") }}. Models: {{ models|join(", ") }}.</p>
</header>
{% if not means %}<p class="none">No cell is done yet.</p>{% endif %}
{% for each in curves %}
{% if loop.first %}<h2>Best score so far</h2>
<p class="note">Score on the search rows against calls paid for, one line a cell: this is what a strategy chose by, so it is optimistic. What holds is the score on the test rows.</p>{% endif %}
<h3>{{ each.name }}</h3>
{{ plot(each.plot) }}
{% endfor %}
{% if cut %}<p class="note">{{ cut }} more tasks and models are in the tables only.</p>{% endif %}
{% for each in tests %}
{% if loop.first %}<h2>Score on the test rows</h2>
<p class="note">Each cell's chosen program on rows that its search never saw, with a bootstrap 95% interval over those rows.</p>{% endif %}
<h3>{{ each.name }}</h3>
{{ plot(each.plot) }}
{% endfor %}
{% if costs %}<h2>Score against calls</h2>
<p class="note">One mark a cell: the search score it ended with against the calls it paid for, over all tasks and models.</p>
{{ plot(costs) }}{% endif %}
{% if means %}<h2>Means over seeds</h2>
{{ table("Means over seeds, with Student's 95% interval; calls, tokens and seconds are those of the search", mean_columns, means) }}{% endif %}
{% if gaps %}<h2>Against the baseline</h2>
<p class="note">Pairs have one task, model, budget and seed. Pairs of one task are not independent, so an interval speaks of these tasks.</p>
{{ table("Strategy minus baseline, paired", gap_columns, gaps) }}{% endif %}
<h2>Cells</h2>
{{ table("All cells", cell_columns, cells) }}
</body>
</html>
"""


def write_page(out: Path, sweep: Sweep, cells: Sequence[Cell], states: Mapping[str, State], frames: Frames) -> Path:
    """Write the page of a sweep to `out` and give where it is.

    Raises:
        RunReadOnly: If it cannot be written.
    """
    try:
        write_atomic(out, render_page(sweep, cells, states, frames))
    except OSError as error:
        raise RunReadOnly(f"a sweep's folder must be writable, got {out.parent} ({error.strerror})") from error
    return out


def render_page(sweep: Sweep, cells: Sequence[Cell], states: Mapping[str, State], frames: Frames) -> str:
    """The page as HTML text. Every text of models, tasks and errors is escaped and made visible."""
    from markupsafe import Markup

    frame, means, gaps = frames
    done = [(cell, states[cell.digest].result) for cell in cells if states[cell.digest].status == "done"]
    look = dict(zip(sweep.strategies, cycle(zip(COLOURS, MARKS, strict=True)), strict=False))
    order = {name: place for place, name in enumerate(sweep.strategies)}
    groups: dict[tuple[str, str], list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, result in done:
        groups.setdefault((cell.task.name, cell.model), []).append((cell, result))
    shown = [(at, sorted(group, key=lambda each: order[each[0].strategy])) for at, group in groups.items()][:PANELS]
    proved = [(at, [each for each in group if each[1]["test"] is not None]) for at, group in shown]
    return _template().render(
        name=sweep.name,
        style=Markup(_style()),  # noqa: S704 - our own style sheet
        tasks=list(dict.fromkeys(cell.task.name for cell in cells)),
        models=list(sweep.models),
        done=len(done),
        failed=sum(states[cell.digest].status == "failed" for cell in cells),
        cut=max(0, len(groups) - PANELS),
        curves=[{"name": " · ".join(at), "plot": _markup(_curves(at, group, look))} for at, group in shown],
        tests=[{"name": " · ".join(at), "plot": _markup(_tests(at, group, look))} for at, group in proved if group],
        costs=_markup(_costs(done, look)) if done else None,
        mean_columns=MEANS,
        means=[_mean_row(row) for row in _rows(means)],
        gap_columns=GAPS,
        gaps=[_gap_row(row) for row in _rows(gaps)],
        cell_columns=CELLS,
        cells=[_cell_row(row) for row in _rows(frame)],
    )


# -- plots -----------------------------------------------------------------------------


def _curves(
    at: tuple[str, str], group: Sequence[tuple[Cell, Mapping[str, Any]]], look: Mapping[str, tuple[str, str]]
) -> Plot:
    """Best score so far against calls, a line each; where a strategy told no steps, its end."""

    def draw(figure: Any, layout: str) -> None:
        figure.set_figheight(3.2)
        axes = figure.subplots()
        for cell, result in group:
            colour, mark = look[cell.strategy]
            steps = [*result["trajectory"], [result["calls"], result["search"]]]
            xs, ys = [step[0] for step in steps], [step[1] for step in steps]
            axes.step(xs, ys, where="post", color=colour, linewidth=1.2, alpha=0.85)
            axes.plot(xs[-1:], ys[-1:], mark, color=colour, markersize=5)
        _legend(figure, layout, [cell.strategy for cell, _ in group], look)
        axes.set_xlabel("model calls")
        axes.set_ylabel("best score so far")
        axes.grid(axis="y", color=RULE, linewidth=0.5)
        axes.margins(y=0.08)

    return draw_plot("Best score so far", _about(group, "search"), draw, " ".join(at))


def _tests(
    at: tuple[str, str], group: Sequence[tuple[Cell, Mapping[str, Any]]], look: Mapping[str, tuple[str, str]]
) -> Plot:
    """Score on the test split with its interval, a line a cell."""

    def draw(figure: Any, layout: str) -> None:
        figure.set_figheight(0.8 + 0.24 * len(group))
        axes = figure.subplots()
        for place, (cell, result) in enumerate(group):
            colour, mark = look[cell.strategy]
            axes.plot([result["low"], result["high"]], [place, place], color=colour, linewidth=1.6)
            axes.plot([result["test"]], [place], mark, color=colour, markersize=6)
        names = [f"{label(cell.strategy, layout)} s{cell.seed}" for cell, _ in group]
        axes.set_yticks(range(len(group)), names)
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.set_xlabel("score on the test rows, 95% interval")
        axes.grid(axis="x", color=RULE, linewidth=0.5)
        bare(axes)

    return draw_plot("Score on the test rows", _about(group, "test"), draw, " ".join(at))


def _costs(done: Sequence[tuple[Cell, Mapping[str, Any]]], look: Mapping[str, tuple[str, str]]) -> Plot:
    """Search score against calls, a mark a cell."""

    def draw(figure: Any, layout: str) -> None:
        figure.set_figheight(3.2)
        axes = figure.subplots()
        for cell, result in done:
            colour, mark = look[cell.strategy]
            axes.plot([result["calls"]], [result["search"]], mark, color=colour, markersize=6, alpha=0.8)
        _legend(figure, layout, [cell.strategy for cell, _ in done], look)
        axes.set_xlabel("model calls")
        axes.set_ylabel("search score")
        axes.grid(color=RULE, linewidth=0.5)
        axes.margins(0.06)

    return draw_plot("Score against calls", f"{len(done)} cells. The figures are in the table.", draw)


def _legend(figure: Any, layout: str, strategies: Sequence[str], look: Mapping[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(strategies))
    lines = [Line2D([], [], color=look[name][0], marker=look[name][1], markersize=5, linewidth=1.2) for name in names]
    labels = [label(name, layout) for name in names]
    figure.legend(lines, labels, loc="outside upper left", frameon=False, ncols=4 if layout == "wide" else 2)


def _about(group: Sequence[tuple[Cell, Mapping[str, Any]]], score: str) -> str:
    said = "; ".join(f"{cell.strategy} seed {cell.seed} {result[score]:.3f}" for cell, result in group)
    return f"{shorten(said, 600)}. The figures are in the table."


def _markup(plot: Plot) -> dict[str, Any]:
    """Plots are spelled by our own writer, with every label of data escaped."""
    from markupsafe import Markup

    return {layout: Markup(text) for layout, text in plot.items()}  # noqa: S704


# -- the page --------------------------------------------------------------------------


@cache
def _style() -> str:
    """The style sheet of the report of a run."""
    text = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    found = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert found is not None
    return found[1]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_seen
    )
    environment.filters["cell"] = _cell
    return environment.from_string(PAGE)


def _seen(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else shorten(str(value), 300)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    import pandas as pd

    return [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
    ]


def _mean_row(row: Mapping[str, Any]) -> list[Any]:
    what = [row["task"], row["model"], row["strategy"], row["budget"], row["cells"]]
    scores = [_within(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("search", "test")]
    return [*what, *scores, round(row["calls"]), round(row["tokens"]), round(row["seconds"])]


def _gap_row(row: Mapping[str, Any]) -> list[Any]:
    gap = _within(row["difference"], row["low"], row["high"], "+.3f")
    return [row["strategy"], row["score"], row["pairs"], gap, row["better"], row["worse"], row["even"]]


def _cell_row(row: Mapping[str, Any]) -> list[Any]:
    what = [row["task"], row["model"], row["strategy"], row["budget"], row["seed"]]
    seconds = None if row["seconds"] is None else round(row["seconds"])
    test = _within(row["test"], row["low"], row["high"])
    told = row["error"] or row["ended"] or row["status"]
    return [*what, row["search"], test, row["calls"], row["tokens"], seconds, told]


def _within(mean: float | None, low: float | None, high: float | None, spelling: str = ".3f") -> str:
    if mean is None:
        return ""
    said = format(mean, spelling)
    return said if low is None or high is None else f"{said} ({low:{spelling}} to {high:{spelling}})"
