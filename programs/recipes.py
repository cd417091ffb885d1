"""Recipes as values: what rows are wanted, before any text is written.

`labelled` is the output-first recipe for categorical tasks: label and style are
drawn from declared quotas, then a text is written for them. `varied` does the
same for structured outputs: the wanted outputs are drawn from the labelled rows
by recombining their fields, or by a function of the user's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from stillroom.errors import BadConfig
from stillroom.signatures import Task
from stillroom.values import digest

__all__ = ["ALL", "STYLES", "Recipe", "Target", "labelled", "varied"]

ALL = "rows"
"""The one cell of recipes that have no strata."""

STYLES: Mapping[str, tuple[str, ...]] = {
    "length": ("a few words", "one sentence", "one sentence", "two or three sentences"),
    "tone": ("plain", "polite", "annoyed", "chatty", "in a hurry"),
    "noise": ("clean", "clean", "clean", "with a typo or two"),
}
"""Attributes of a text by default, each value as often as it stands in its list."""


@dataclass(frozen=True)
class Target:
    """One wanted row: its quota cell, its outputs and the style of its text."""

    cell: str
    outputs: Mapping[str, Any]
    style: Mapping[str, str]


@dataclass(frozen=True)
class Recipe:
    """What to emit and how hard to try.

    Attributes:
        name: As passports name it.
        settings: Everything that decides the rows; its digest is the recipe's.
        quotas: Accepted rows wanted of each cell of a task.
        draw: The wanted row of a cell at a place, from (task, cell, place, seed). Places go on behind the quota:
            rows that fail make place for them.
        sized: The same recipe asking for another number of rows (of each label, or in all).
        demos: Labelled rows shown for each wanted row.
        temperature: Of the writing.
        attempts: Tries of a wanted row before another takes its place; a cell begins at most so many rows
            for each one wanted.
        together: Wanted rows that share their demos: a prompt's beginning is then read once for all of them,
            which on a small machine costs more than the writing.
        seed: Of targets, demos and sampling.
    """

    name: str
    settings: Mapping[str, Any]
    quotas: Callable[[Task], Mapping[str, int]] = field(repr=False)
    draw: Callable[[Task, str, int, int], Target] = field(repr=False)
    sized: Callable[[int], Recipe] = field(repr=False)
    demos: int = 4
    temperature: float = 0.9
    attempts: int = 4
    together: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("demos", "attempts", "together"):
            if getattr(self, name) < (0 if name == "demos" else 1):
                raise BadConfig(
                    f"recipe {name} must be at least {0 if name == 'demos' else 1}, got {getattr(self, name)!r}"
                )
        if self.temperature <= 0:
            raise BadConfig(
                f"recipe temperature must be above 0, got {self.temperature!r}",
                mend="At 0 every attempt writes the same text.",
            )

    @property
    def digest(self) -> str:
        """Content hash of name and settings."""
        shared = {key: getattr(self, key) for key in ("name", "demos", "temperature", "attempts", "together", "seed")}
        return digest({**shared, "settings": dict(self.settings)})

    def targets(self, task: Task) -> list[Target]:
        """The wanted rows of every cell, as many as its quota."""
        return [
            self.draw(task, cell, place, self.seed)
            for cell, quota in self.quotas(task).items()
            for place in range(quota)
        ]


def labelled(
    per_label: int | Mapping[str, int] = 50, *, styles: Mapping[str, tuple[str, ...]] = STYLES, **settings: Any
) -> Recipe:
    """Ask for rows of each label (output-first generation, RECIPES 2.2).

    Args:
        per_label: Accepted rows wanted of every label, or of each label named.
        styles: Values of each style attribute, repeated by weight.
        settings: `demos`, `temperature`, `attempts`, `together`, `seed` of `Recipe`.

    Raises:
        BadConfig: At once for bad settings; when used, if the task has no categorical output
            or a label is unknown.
    """
    counts = per_label if isinstance(per_label, int) else dict(per_label)
    if any(count < 0 for count in ([counts] if isinstance(counts, int) else counts.values())):
        raise BadConfig(f"per_label must be at least 0, got {per_label!r}")
    _check_styles(styles)
    values = {"per_label": counts, "styles": {name: list(choices) for name, choices in styles.items()}}
    sized = partial(labelled, styles=styles, **settings)
    return Recipe("labelled", values, partial(_per_label, counts), partial(_of_label, styles), sized, **settings)


def varied(
    n: int = 100,
    *,
    vary: Callable[[Mapping[str, Any], random.Random], Mapping[str, Any]] | None = None,
    styles: Mapping[str, tuple[str, ...]] = STYLES,
    **settings: Any,
) -> Recipe:
    """Ask for `n` rows whose outputs recombine those of labelled rows.

    Args:
        n: Accepted rows wanted.
        vary: New outputs from a labelled row's outputs; without it every field is drawn
            independently from the labelled rows' values of that field.
        styles: As for `labelled`.
        settings: As for `labelled`.
    """
    if n < 0:
        raise BadConfig(f"n must be at least 0, got {n!r}")
    _check_styles(styles)
    values = {
        "n": n,
        "vary": getattr(vary, "__qualname__", None),
        "styles": {name: list(choices) for name, choices in styles.items()},
    }
    sized = partial(varied, vary=vary, styles=styles, **settings)
    return Recipe("varied", values, partial(_so_many, n), partial(_recombined, vary, styles), sized, **settings)


def _check_styles(styles: Mapping[str, tuple[str, ...]]) -> None:
    empty = [name for name, choices in styles.items() if not choices]
    if empty:
        raise BadConfig(f"every style needs at least one value, got none for {empty}")


def _per_label(counts: int | Mapping[str, int], task: Task) -> dict[str, int]:
    label = task.shape.label_field
    if label is None:
        raise BadConfig(
            f"recipe 'labelled' needs one categorical output, got {[each.name for each in task.shape.outputs]}",
            mend="Use the recipe 'varied'.",
        )
    wanted = dict.fromkeys(label.labels, counts) if isinstance(counts, int) else dict(counts)
    unknown = sorted(wanted.keys() - set(label.labels))
    if unknown:
        raise BadConfig(f"per_label must name labels of {task.name}, got {unknown}")
    return wanted


def _of_label(styles: Mapping[str, tuple[str, ...]], task: Task, cell: str, place: int, seed: int) -> Target:
    label = task.shape.label_field
    assert label is not None  # asked for its quotas before
    return Target(cell, {label.name: cell}, _style(styles, cell, place, seed))


def _so_many(n: int, task: Task) -> dict[str, int]:
    return {ALL: n}


def _recombined(
    vary: Callable[[Mapping[str, Any], random.Random], Mapping[str, Any]] | None,
    styles: Mapping[str, tuple[str, ...]],
    task: Task,
    cell: str,
    place: int,
    seed: int,
) -> Target:
    rng = random.Random(f"{seed}/{cell}/{place}")
    rows = task.demos
    if vary is None:
        outputs: Mapping[str, Any] = {each.name: rng.choice(rows).outputs[each.name] for each in task.shape.outputs}
    else:
        outputs = vary(rng.choice(rows).outputs, rng)
    return Target(cell, dict(outputs), _style(styles, cell, place, seed))


def _style(styles: Mapping[str, tuple[str, ...]], cell: str, place: int, seed: int) -> dict[str, str]:
    """The style at a place: among those before it, every attribute's values come as often as declared, to within one."""
    style = {}
    for name, choices in styles.items():
        turn, at = divmod(place, len(choices))
        style[name] = choices[_shuffled(len(choices), f"{seed}/{cell}/{name}/{turn}")[at]]
    return style


@lru_cache(maxsize=4096)
def _shuffled(count: int, seed: str) -> tuple[int, ...]:
    places = list(range(count))
    random.Random(seed).shuffle(places)
    return tuple(places)
