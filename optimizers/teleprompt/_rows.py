"""DSPy's examples as labelled rows: checked, split, and known by content."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from stillroom.errors import BadData
from stillroom.signatures import DataWarning, Example
from stillroom.values import canonical, digest

__all__ = ["Rows", "module_rows", "plain"]

SHOWN = 0.4  # share of the rows that may be shown as demos, where no valset is given
LEAST = 8


@dataclass(frozen=True)
class Rows:
    """Labelled rows of a module.

    Attributes:
        demos, search: As in `Subject`, with plain JSON values.
        originals: The `dspy.Example` of each, by id: what the module and the metric see.
    """

    demos: tuple[Example, ...]
    search: tuple[Example, ...]
    originals: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Content hash of both splits."""
        return digest([[[each.id, digest(each.values)] for each in split] for split in (self.demos, self.search)])


def module_rows(trainset: Sequence[Any], valset: Sequence[Any] | None, seed: int) -> Rows:
    """Read DSPy's examples.

    Without a `valset`, two fifths of the train rows may be shown and the others are searched
    on, by a hash of their inputs. With one, a train row that is also there is left out.

    Raises:
        BadData: If there are no rows, too few to search on, or rows without inputs.
    """
    train, known = _read(trainset, "trainset")
    if valset is None:
        ranked = sorted(train.values(), key=lambda example: digest([seed, example.id]))
        shown = max(1, round(SHOWN * len(ranked)))
        demos, search = ranked[:shown], ranked[shown:]
    else:
        held, more = _read(valset, "valset")
        copies = train.keys() & held.keys()
        if copies:
            _warn(f"{len(copies)} trainset rows are also valset rows and are never shown as demos")
        known = {**known, **more}
        demos = [example for key, example in train.items() if key not in copies]
        search = sorted(held.values(), key=lambda example: digest([seed, example.id]))
    if len(search) < LEAST:
        raise BadData(
            f"a search needs at least {LEAST} rows to score on, got {len(search)} {'of the trainset' if valset is None else 'in the valset'}",
            mend="Give more rows: a valset of 60 or more shows differences of about 17 points.",
        )
    return Rows(tuple(demos), tuple(search), known)


def _read(source: Sequence[Any], role: str) -> tuple[dict[str, Example], dict[str, Any]]:
    """Rows by id and the originals by id; the first of equal inputs stays."""
    rows: dict[str, Example] = {}
    originals: dict[str, Any] = {}
    problems: list[str] = []
    count = 0
    for count, raw in enumerate(source, 1):
        keys = getattr(raw, "_input_keys", None)
        if not keys:
            problems.append(
                f"row {count}: {'inputs are not set' if hasattr(raw, 'with_inputs') else type(raw).__name__}"
            )
            continue
        inputs, outputs = plain(dict(raw.inputs().items())), plain(dict(raw.labels().items()))
        example = Example(digest(inputs), inputs, outputs)
        if rows.setdefault(example.id, example) is example:
            originals[example.id] = raw
    if problems:
        raise BadData(
            f"every row of the {role} must be a dspy.Example with inputs, got {len(problems)} that are not:",
            problems,
            mend="Mark them: dspy.Example(question=..., answer=...).with_inputs('question').",
        )
    if not count:
        raise BadData(f"the {role} must hold rows, got none")
    if len(rows) < count:
        _warn(f"{count - len(rows)} of {count} {role} rows repeat another row's inputs and were left out")
    return rows, originals


def plain(value: Any) -> Any:
    """Bring any value to JSON: models and examples as mappings, the rest by a text without addresses."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, BaseModel):
        return {name: plain(each) for name, each in value}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping) or hasattr(value, "toDict"):  # dspy.Example is no Mapping
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(each) for each in value), key=canonical)
    if hasattr(value, "tolist"):  # numpy and torch
        return plain(value.tolist())
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def _warn(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=5)
