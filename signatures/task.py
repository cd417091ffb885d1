"""A task: a typed signature, labelled rows split once and for all, and a metric."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.values import digest

from .cells import settled
from .data import read_rows
from .shape import Shape, shape_of

if TYPE_CHECKING:
    import dspy

__all__ = ["DataWarning", "Example", "Split", "Task", "inputs_text"]

Split = Literal["demos", "search", "test"]
SPLITS: tuple[Split, ...] = ("demos", "search", "test")
LEAST: Mapping[Split, int] = {"demos": 1, "search": 8, "test": 8}
FEW = 60  # below this many rows a paired comparison sees differences of about 17 points or more (power 0.8)


class DataWarning(UserWarning):
    """Something about the labelled rows that weakens what can be shown."""


@dataclass(frozen=True)
class Example:
    """One labelled row. `id` is the content hash of its normalised inputs."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """Inputs and outputs together."""
        return {**self.inputs, **self.outputs}

    @property
    def text(self) -> str:
        """The inputs as one text, for embeddings and duplicate checks."""
        return inputs_text(self.inputs)


@dataclass(frozen=True, eq=False)
class Task:
    """A typed signature with labelled rows and a metric.

    Rows are split by a hash of their normalised inputs, so that a row keeps its
    split when others are appended, and equal rows can never be in two splits.

    Args:
        signature: A `dspy.Signature` class.
        data: Rows, as `stillroom.signatures.read_rows` takes them; or a mapping that gives some
            of "demos", "search" and "test" rows of their own, and "train" rows to be split
            between the first two.
        metric: `metric(expected, outputs) -> Verdict`; `expected` holds inputs and gold outputs.
        name: For run folders and reports; the signature's name otherwise.
        seed: Chooses the split, 0 or more.
        shares: Shares of the demos, search and test splits; they sum to 1.
        columns: Column name in the data for each field whose column is called otherwise.
        definitions: What each label means, by label.
        licence: Under which licence the rows are, as an SPDX expression; the user's own where it is "".
            Rows emitted from them inherit it.
        labelled_by: Who labelled the rows, "people" or "machine"; "" where nobody says.
        benchmarks: Files that no emitted row may copy: paths, or mappings of the arguments of
            `stillroom.evals.copies.guarded.guarded_file` (`path`, `fields`, `answer`, `id`).

    Raises:
        BadConfig: If a setting cannot work, or a benchmark's file does not exist.
        BadData: If rows break their types (all problems are listed) or are too few.
    """

    signature: type[dspy.Signature]
    data: Any
    metric: Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
    name: str = ""
    seed: int = 0
    shares: tuple[float, float, float] = (0.25, 0.35, 0.40)
    columns: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    labelled_by: Literal["people", "machine", ""] = ""
    benchmarks: Sequence[str | Path | Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if len(self.shares) != len(SPLITS) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise BadConfig(f"shares must be three numbers >= 0 that sum to 1, got {self.shares!r}")
        if not callable(self.metric):
            raise BadConfig(
                f"metric must be callable, got {self.metric!r}", mend="For example stillroom.exact('label')."
            )
        if self.labelled_by not in ("people", "machine", ""):
            raise BadConfig(f"labelled_by must be people, machine or '', got {self.labelled_by!r}")
        _check_benchmarks(self.benchmarks)
        if not self.name:
            object.__setattr__(self, "name", self.signature.__name__.lower())
        self.splits  # noqa: B018 - bad rows are refused when the task is declared, not when money is spent

    @cached_property
    def shape(self) -> Shape:
        """The signature's fields as JSON schemas."""
        return shape_of(self.signature, self.definitions)

    @cached_property
    def splits(self) -> dict[Split, tuple[Example, ...]]:
        """The rows of each split, in the order of their ids' hashes (not of the file)."""
        sources = dict(self.data) if isinstance(self.data, Mapping) else {"all": self.data}
        unknown = sorted(sources.keys() - {"all", "train", *SPLITS})
        if unknown:
            raise BadConfig(f"data may name {', '.join(SPLITS)} and train, got {unknown}")
        found: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        taken: set[str] = set()
        # rows given for test are settled first: a copy of one of them never reaches search or demos
        for role in ("test", "search", "demos", "train", "all"):
            if role not in sources:
                continue
            rows = self.read(sources[role], "data" if role == "all" else role)
            copies = rows.keys() & taken
            if copies:
                self._warn(f"{len(copies)} {role} rows are also rows of a split given before and were left out")
            for example_id in rows.keys() - copies:
                split = self.split_of(example_id, whole=role == "all") if role in ("all", "train") else role
                found[split].append(rows[example_id])  # type: ignore[index]
            taken |= rows.keys()
        ordered = {split: tuple(sorted(examples, key=self._place)) for split, examples in found.items()}
        self._check_sizes(ordered)
        return ordered

    @property
    def demos(self) -> tuple[Example, ...]:
        """Rows that may be shown in prompts and train students."""
        return self.splits["demos"]

    @property
    def search(self) -> tuple[Example, ...]:
        """Rows that candidates are scored on."""
        return self.splits["search"]

    @property
    def held_out(self) -> tuple[Example, ...]:
        """The test split. Opened once, by `prove`."""
        return self.splits["test"]

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What runs of this task are a function of, in parts that a refusal can name."""
        rows = {
            split: [[example.id, digest(example.values)] for example in examples]
            for split, examples in self.splits.items()
        }
        count = sum(map(len, self.splits.values()))
        return {
            "signature": self.shape.digest,
            "rows": f"{count} rows, {digest(rows, 8)}",
            "metric": self.metric_name,
            "split seed": self.seed,
        }

    @cached_property
    def digest(self) -> str:
        """Content hash of the fingerprint."""
        return digest(self.fingerprint)

    @property
    def metric_name(self) -> str:
        """The metric's stable name."""
        return str(
            getattr(self.metric, "name", None) or getattr(self.metric, "__qualname__", type(self.metric).__name__)
        )

    def split_of(self, example_id: str, *, whole: bool = True) -> Split:
        """The split that a row with this id belongs to; of demos and search only unless `whole`."""
        place = int(self._place_of(example_id), 16) / 16**16
        demos, search, test = self.shares
        if not whole:
            return "demos" if place * (demos + search) < demos else "search"
        return "demos" if place < demos else "search" if place < demos + search or not test else "test"

    def example(self, values: Mapping[str, Any]) -> Example:
        """Make an example from the fields of one valid row."""
        inputs = {each.name: values[each.name] for each in self.shape.inputs}
        outputs = {each.name: values[each.name] for each in self.shape.outputs}
        return Example(digest({name: _normal(value) for name, value in inputs.items()}), inputs, outputs)

    def _place_of(self, example_id: str) -> str:
        return digest([self.seed, example_id], 16)

    def _place(self, example: Example) -> str:
        return self._place_of(example.id)

    def read(self, source: Any, role: str) -> dict[str, Example]:
        """Read further rows of this task: all of `source` by id, whatever their split.

        Args:
            source: As `read_rows` takes it.
            role: What messages call these rows.

        Raises:
            BadData: If rows break their types (every problem of every row), or there are none.
        """
        problems: list[str] = []
        rows: dict[str, Example] = {}
        conflicts, copies, number = 0, 0, 0
        for number, raw in read_rows(source):
            values, found = settled(raw, self.shape.inputs, self.shape.outputs, self.columns)
            if found:
                problems += [f"row {number}, field {name!r}: {rule}" for name, rule in found]
                continue
            example = self.example(values)
            first = rows.setdefault(example.id, example)
            copies += first is not example
            conflicts += first is not example and first.outputs != example.outputs
        if problems:
            raise BadData(
                f"every row of {role} must fit {self.shape.name}, got {len(problems)} problems:",
                problems,
                mend=self._mend(),
            )
        if not number:
            raise BadData(f"{role} must hold rows, got none")
        if copies:
            self._warn(
                f"{copies} of {number} {role} rows repeat another row's inputs and were left out ({conflicts} of them with other outputs)"
            )
        return rows

    def _check_sizes(self, splits: Mapping[Split, Sequence[Example]]) -> None:
        total = sum(map(len, splits.values()))
        for split, least in LEAST.items():
            have = len(splits[split])
            if have < least:
                raise BadData(
                    f"the {split} split needs at least {least} rows, got {have} of {total}",
                    mend="Add labelled rows, or change `shares`.",
                )
        for split in SPLITS[1:]:
            if len(splits[split]) < FEW:
                self._warn(
                    f"the {split} split has {len(splits[split])} rows: with fewer than {FEW} only differences above about 17 points can be seen"
                )
        label = self.shape.label_field
        if label is not None:
            counts = Counter(example.outputs[label.name] for example in splits["demos"])
            unseen = [name for name in label.labels if not counts[name]]
            if unseen:
                self._warn(f"{len(unseen)} labels have no row in the demos split: {', '.join(unseen[:5])}")

    def _mend(self) -> str:
        return f"Fields are {', '.join(each.name for each in self.shape.fields)}; map other column names with columns={{'field': 'column'}}."

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.name}: {text}", DataWarning, stacklevel=6)


def inputs_text(inputs: Mapping[str, Any]) -> str:
    """The inputs of one row as one text, a line each."""
    return "\n".join(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in inputs.values()
    )


def _check_benchmarks(benchmarks: Any) -> None:
    """See that they are there: a missing file must not be found out after the search was paid for."""
    if isinstance(benchmarks, (str, Path, Mapping)):
        raise BadConfig(f"benchmarks must be a list of files, got {benchmarks!r}", mend="Write benchmarks=[...].")
    for each in benchmarks:
        path = each.get("path", "") if isinstance(each, Mapping) else each
        if not (isinstance(path, (str, Path)) and str(path) and Path(path).exists()):
            raise BadConfig(f"a benchmark must be a file that exists, got {str(path)!r}")


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    return value
