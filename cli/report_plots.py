"""The plots of a report: candidates, the funnel, words and the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .drawing import BLUE, GREEN, INK, MUTED, PAPER, RED, RULE, Plot, bare, draw_plot, label, whole
from .report_text import shorten

__all__ = ["funnel_plot", "proof_plot", "score_plot", "words_plot"]


def score_plot(trials: Sequence[Mapping[str, Any]], winner: int | None) -> Plot:
    """Draw candidates in order: mean score above, rows seen below; `winner` is an index."""
    best = max((trial["mean"] for trial in trials if trial["state"] == "complete"), default=trials[0]["mean"])
    about = f"{len(trials)} candidates; baseline {trials[0]['mean']:.3f}, best complete {best:.3f}. The figures are in the table."
    return draw_plot("Score of each candidate", about, lambda figure, layout: _scores(figure, layout, trials, winner))


def _scores(figure: Any, layout: str, trials: Sequence[Mapping[str, Any]], winner: int | None) -> None:
    figure.set_figheight(3.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    numbers = list(range(1, len(trials) + 1))
    done = [trial["state"] == "complete" for trial in trials]
    so_far = [trials[0]["mean"]]
    for trial in trials[1:]:
        so_far.append(max(so_far[-1], trial["mean"]) if trial["state"] == "complete" else so_far[-1])
    upper.axhline(trials[0]["mean"], color=MUTED, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    upper.step(numbers, so_far, where="post", color=GREEN, linewidth=1.2, zorder=2)
    for wanted, marker, face, colour in ((True, "o", BLUE, BLUE), (False, "x", RED, RED)):
        at = [place for place, each in enumerate(done) if each is wanted]
        label = "complete" if wanted else "dropped"
        if at:
            xs, ys = [numbers[place] for place in at], [trials[place]["mean"] for place in at]
            upper.plot(xs, ys, marker, markersize=6, mfc=face, mec=colour, mew=1.3, label=label, zorder=3)
    if winner is not None:
        ring = {"markersize": 12, "mfc": "none", "mec": GREEN, "mew": 1.4, "label": "in the plan"}
        upper.plot([winner + 1], [trials[winner]["mean"]], "o", zorder=3, **ring)
    upper.plot([], [], color=GREEN, linewidth=1.2, label="best so far")
    upper.plot([], [], color=MUTED, linestyle=(0, (4, 3)), linewidth=1, label="baseline")
    columns = 5 if layout == "wide" else 2
    figure.legend(loc="outside upper left", frameon=False, ncols=columns, handletextpad=0.5, columnspacing=1.4)
    upper.set_ylabel("mean score")
    upper.margins(y=0.12)
    upper.grid(axis="y", color=RULE, linewidth=0.5)
    lower.bar(numbers, [trial["rows"] for trial in trials], width=0.6, color=MUTED)
    lower.set_ylabel("rows seen")
    lower.set_xlabel("candidate, in the order tried")
    lower.set_xlim(0.3, len(trials) + 0.7)
    whole(lower.xaxis, 10 if layout == "wide" else 6)
    lower.set_yticks([0, max(trial["rows"] for trial in trials)])


def funnel_plot(written: int, gates: Sequence[tuple[str, int, int]], accepted: int, key: str = "") -> Plot:
    """Draw how many rows reached each gate, passed it and were stopped by it; `key` tells equal plots apart."""
    about = f"{written} rows written, {accepted} accepted. The figures are in the table."
    return draw_plot(
        "Rows through the gates", about, lambda figure, layout: _funnel(figure, layout, gates, accepted), key
    )


def _funnel(figure: Any, layout: str, gates: Sequence[tuple[str, int, int]], accepted: int) -> None:
    names = [label(gate, layout) for gate, _, _ in gates] + ["accepted"]
    passed = [reached - stopped for _, reached, stopped in gates] + [accepted]
    stopped = [stopped for _, _, stopped in gates] + [0]
    figure.set_figheight(0.9 + 0.3 * len(names))
    axes = figure.subplots()
    places = range(len(names))
    axes.barh(places, passed, height=0.62, color=[BLUE] * len(gates) + [GREEN], label="passed")
    axes.barh(places, stopped, left=passed, height=0.62, facecolor=PAPER, edgecolor=RED, hatch="////", linewidth=0.9)
    most = max(1, *(one + other for one, other in zip(passed, stopped, strict=True)))
    for place, one, other in zip(places, passed, stopped, strict=True):
        words = f"{one:,}" + (f"   −{other:,}" if other else "")
        axes.text(one + other + most * 0.015, place, words, va="center", color=INK)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, most * (1.2 if layout == "wide" else 1.42))
    axes.set_xlabel("rows passed (filled) and stopped (hatched)")
    bare(axes)
    whole(axes.xaxis, 6 if layout == "wide" else 3)


def proof_plot(results: Sequence[Mapping[str, Any]], metric: str) -> Plot:
    """Draw each system's score on the test split with its 95% interval."""
    said = "; ".join(f"{shorten(str(each['name']), 60)} {each['score']:.3f}" for each in results)
    about = f"{said}. The figures are in the table."
    return draw_plot(
        "Score of each system on the test split", about, lambda figure, layout: _proof(figure, layout, results, metric)
    )


def _proof(figure: Any, layout: str, results: Sequence[Mapping[str, Any]], metric: str) -> None:
    figure.set_figheight(0.8 + 0.36 * len(results))
    axes = figure.subplots()
    for place, each in enumerate(results):
        axes.plot([each["low"], each["high"]], [place, place], color=BLUE, linewidth=1.6, solid_capstyle="butt")
        axes.plot([each["low"], each["high"]], [place, place], "|", color=BLUE, markersize=7)
        axes.plot([each["score"]], [place], "o", color=BLUE, markersize=6)
        axes.annotate(
            f"{each['score']:.3f}",
            (each["score"], place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            annotation_clip=False,
        )
    axes.set_yticks(range(len(results)), [label(str(each["name"]), layout) for each in results])
    axes.set_ylim(len(results) - 0.5, -0.75)
    axes.set_xlabel(f"{label(metric, layout)}, mean and 95% interval")
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=6 if layout == "wide" else 4)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    bare(axes)


def words_plot(accepted: Mapping[int, int], stopped: Mapping[int, int], demos: Sequence[int], key: str = "") -> Plot:
    """Draw how long the rows are in words, the plan's `demos` as ticks beneath; `key` tells equal plots apart."""
    about = f"{sum(accepted.values())} accepted and {sum(stopped.values())} stopped rows by their length in words. The figures are in the table."
    return draw_plot(
        "Length of the emitted rows",
        about,
        lambda figure, layout: _words(figure, layout, accepted, stopped, demos),
        key,
    )


def _words(
    figure: Any, layout: str, accepted: Mapping[int, int], stopped: Mapping[int, int], demos: Sequence[int]
) -> None:
    figure.set_figheight(2.4)
    axes = figure.subplots()
    longest = max([*accepted, *stopped, *demos, 1])
    step = max(1, -(-longest // 30))  # at most 30 bins of whole words
    edges = list(range(0, longest + step + 1, step))
    if accepted:
        axes.hist(list(accepted), edges, weights=list(accepted.values()), color=BLUE, rwidth=0.86, label="accepted")
    if stopped:
        weights = list(stopped.values())
        axes.hist(
            list(stopped), edges, weights=weights, histtype="step", color=RED, linewidth=1.3, label="stopped by a gate"
        )
    if demos:
        axes.plot(demos, [0] * len(demos), "|", color=INK, markersize=11, label="demos of the plan", clip_on=False)
    figure.legend(loc="outside upper left", frameon=False, ncols=3 if layout == "wide" else 2, columnspacing=1.4)
    axes.set_xlabel("words in the inputs")
    axes.set_ylabel("rows")
    axes.set_xlim(0, edges[-1])
    whole(axes.yaxis, 4)
