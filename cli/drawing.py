"""Drawing as inline SVG: coloured by the page's CSS variables, the same bytes for the same facts.

Each plot is drawn twice, for a wide page and for a phone, because text that scales
with the picture is too small on one of them. Labels come from data: mathtext is
off, and the SVG is parsed again and spelled anew, so that nothing in it is markup.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

from stillroom.values import digest

from .report_text import visible

__all__ = ["BLUE", "GREEN", "INK", "MUTED", "PAPER", "RED", "RULE", "Plot", "bare", "draw_plot", "label", "whole"]

Plot = Mapping[str, str]
"""SVG text by layout: `wide` and `narrow`."""

WIDTHS = {"wide": 7.2, "narrow": 3.7}  # inches of 72 units
# stand-ins that matplotlib can draw with; each becomes a variable of the page, which has a light and a dark value
INK, MUTED, RULE, PAPER = "#010a01", "#010a02", "#010a03", "#010a04"
BLUE, RED, GREEN = "#010a05", "#010a06", "#010a07"
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper", BLUE: "blue", RED: "red", GREEN: "green"}
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # for measuring; the page's own font is shown
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "hatch.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
SVG = "{http://www.w3.org/2000/svg}"


def bare(axes: Any) -> None:
    """Leave names on the left and no more frame than that."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def whole(axis: Any, ticks: int) -> None:
    """Put at most about `ticks` ticks on an axis, at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(ticks, integer=True, min_n_ticks=1))


def label(text: str, layout: str) -> str:
    """A name of data on one line, short enough to leave room for the plot."""
    line, limit = visible(" ".join(text.split())), 26 if layout == "wide" else 15
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def draw_plot(title: str, about: str, draw: Callable[[Any, str], None], key: str = "") -> Plot:
    """Draw a plot in both layouts.

    Args:
        title: What it shows; read out, and part of its ids.
        about: What a reader who cannot see it must know.
        draw: Called with the figure (7.2 or 3.7 inches wide, 3 high) and the layout, `wide` or `narrow`.
        key: Tells plots of one title on one page apart.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    plots = {}
    for layout, width in WIDTHS.items():
        name = re.sub("[^a-z0-9]+", "-", f"{title} {digest(key, 8) if key else ''} {layout}".lower())
        with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
            # a script the measuring font lacks is measured roughly and shown by the reader's own fonts
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
            figure = Figure(figsize=(width, 3), layout="constrained")
            draw(figure, layout)
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None})
        plots[layout] = _inline(out.getvalue(), name, title, visible(about))
    return plots


def _inline(text: str, name: str, title: str, about: str) -> str:
    """Make matplotlib's file a part of the page: its colours and fonts, a title and a description for readers who listen."""
    root = ElementTree.fromstring(text)  # noqa: S314 - drawn above, not from outside
    for parent in list(root.iter()):
        for part in parent.findall(f"{SVG}metadata") + parent.findall(f"{SVG}style"):
            parent.remove(part)  # a style sheet here would reach the whole page
    used = set(re.findall(r"#([\w-]+)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        # ids nobody refers to would clash with those of the next plot
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if "{http://www.w3.org/1999/xlink}href" in element.attrib:
            element.set("href", element.attrib.pop("{http://www.w3.org/1999/xlink}href"))
        style = [element.get("style", "")]
        style += [f"{name}: {element.attrib.pop(name)}" for name in ("fill", "stroke") if name in element.attrib]
        if said := _themed("; ".join(filter(None, style))):
            element.set("style", said)
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-about"}
    for place, (tag, words) in enumerate((("title", title), ("desc", about))):
        child = ElementTree.Element(tag, {"id": f"{name}-{'title' if tag == 'title' else 'about'}"})
        child.text = words
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _themed(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var(--{variable})")
    return re.sub(r"font-family:[^;]*;?\s*", "", style)
