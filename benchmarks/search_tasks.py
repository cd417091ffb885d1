"""Tasks on real rows that searches are compared on: ten small ones, declared as a user would, with nothing tuned.

Demos come from a set's training rows, the search split from its development rows
(filled up with other training rows where those are few), the test split from its
test rows; sets without splits are cut by content, and all pairs about one
instruction fall on one side. Labels are balanced. The first rows that fit are
taken, so that equal sizes give equal rows.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

import dspy

import stillroom as st
from stillroom.evals import Metric, Verdict, fields, named, numeric
from stillroom.signatures import DataWarning
from stillroom.values import digest

__all__ = ["SEARCH_TASKS", "SIZES", "SearchTask", "load"]

SIZES: Mapping[str, int] = {"demos": 120, "search": 50, "test": 150}
SOURCES = {"demos": "train", "search": "dev", "test": "test"}

Row = dict[str, Any]


@dataclass(frozen=True)
class SearchTask:
    """One task on rows of one folder.

    Attributes:
        folder: Below the data folder.
        says: The signature's docstring.
        inputs, outputs: Types by field name, in order.
        metric: As a task takes it.
        row: Makes a row of the task from a row of the file; `None` leaves it out.
        label: The field whose values are balanced; "" for none.
        group: For folders with one file: rows with equal values of it fall on one side.
        reasoned: Whether a DSPy user would ask with `ChainOfThought`; peers then do.
    """

    folder: str
    says: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    metric: Metric
    row: Callable[[Row], Row | None]
    label: str = ""
    group: Callable[[Row], str] | None = None
    reasoned: bool = False

    @property
    def signature(self) -> type[dspy.Signature]:
        """What a user would declare."""
        made = {name: (kind, dspy.InputField()) for name, kind in self.inputs.items()}
        made |= {name: (kind, dspy.OutputField()) for name, kind in self.outputs.items()}
        return dspy.make_signature(made, self.says, "Answer")  # type: ignore[no-any-return]


def load(name: str, data: Path, sizes: Mapping[str, int] = SIZES) -> st.Task:
    """The task `name` on rows below the folder `data`.

    Raises:
        FileNotFoundError: If its rows are not there.
    """
    made = SEARCH_TASKS[name]
    folder = data / made.folder
    splits = _cut(made, folder, sizes) if made.group is not None else _taken(made, folder, sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # small splits are the point here
        return st.Task(made.signature, data=splits, metric=made.metric, name=name, seed=7)


def _taken(made: SearchTask, folder: Path, sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    rows = {split: _balanced(made, _read(made, folder / f"{file}.jsonl")) for split, file in SOURCES.items()}
    demos = rows["demos"][: sizes["demos"]]
    spare = rows["demos"][sizes["demos"] :]
    return {
        "demos": demos,
        "search": (rows["search"] + spare)[: sizes["search"]],
        "test": rows["test"][: sizes["test"]],
    }


def _cut(made: SearchTask, folder: Path, sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """Whole groups to one split each, in the order of their hashes, in the splits' shares of the sizes."""
    group = made.group or digest
    sides: defaultdict[str, list[Row]] = defaultdict(list)
    total, demos = sum(sizes.values()), sizes["demos"] / sum(sizes.values())
    for raw in _lines(folder / "data.jsonl"):
        row = made.row(raw)
        if row is not None:
            place = int(digest(group(raw), 8), 16) / 16**8
            split = "demos" if place < demos else "search" if place < demos + sizes["search"] / total else "test"
            sides[split].append(row)
    return {split: _balanced(made, sides[split])[:size] for split, size in sizes.items()}


def _balanced(made: SearchTask, rows: Sequence[Row]) -> list[Row]:
    """In the file's order, the labels taking turns."""
    if not made.label:
        return list(rows)
    by_label: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row[made.label]].append(row)
    turns = zip_longest(*(by_label[label] for label in sorted(by_label)))
    return [row for row in chain.from_iterable(turns) if row is not None]


def _read(made: SearchTask, path: Path) -> list[Row]:
    return [row for row in map(made.row, _lines(path)) if row is not None]


def _lines(path: Path) -> Iterable[Row]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


# -- the rows of each kind ------------------------------------------------------------------------


def _labelled(labels: Sequence[str], text: str, label: str, column: str = "label") -> Callable[[Row], Row | None]:
    def row(raw: Row) -> Row | None:
        return {text: raw["text"], label: raw[column]} if raw[column] in labels else None

    return row


SLOTS = ("people", "date", "time", "first_name", "last_name")


def _booking(raw: Row) -> Row | None:
    """Messages that stand alone: what "13" means depends on the question before it."""
    if raw["requested_slots"]:
        return None
    said = {each["slot"]: each["value"] for each in raw["slots"]}
    return {"message": raw["text"], **{slot: said.get(slot) for slot in SLOTS}}


def _entities(raw: Row) -> Row | None:
    if len(raw["text"]) > 140:
        return None
    return {"post": raw["text"], "names": list(dict.fromkeys(each["text"] for each in raw["entities"]))}


def _f1(expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> Verdict:
    """F1 of the names as a multiset, upper and lower case alike; nothing found where nothing is scores 1."""
    gold, got = (
        Counter(str(name).casefold().strip() for name in side.get("names") or []) for side in (expected, outputs)
    )
    if gold == got:
        return Verdict.ok()
    score = 2 * (gold & got).total() / (gold.total() + got.total())
    missed, extra = sorted((gold - got).elements()), sorted((got - gold).elements())
    return Verdict(score, f"missed {missed}, found {extra} that are no names")


def _counted(raw: Row) -> Row | None:
    if raw["task"] != "object_counting":
        return None
    return {"question": raw["input"], "count": int(raw["target"])}


def _word_problem(raw: Row) -> Row | None:
    short = len(raw["question"]) <= 250 and raw["answer"].isdigit()
    return {"question": raw["question"], "answer": int(raw["answer"])} if short else None


def _asked(raw: Row) -> str:
    return "\n".join(part for part in (raw["instruction"], raw["input"]) if part)


def _pair(raw: Row) -> Row | None:
    """Short pairs that all three people judged alike, and none of them a tie."""
    length = len(_asked(raw)) + len(raw["response_1"]) + len(raw["response_2"])
    if length > 500 or len(set(raw["annotations"])) > 1 or raw["label"] not in ("1", "2"):
        return None
    if not raw["response_1"].strip() or not raw["response_2"].strip():
        return None
    return {
        "instruction": _asked(raw),
        "response_1": raw["response_1"],
        "response_2": raw["response_2"],
        "better": raw["label"],
    }


# -- the tasks ------------------------------------------------------------------------------------


def _classify(
    folder: str, says: str, text: str, label: str, labels: Sequence[str], column: str = "label"
) -> SearchTask:
    return SearchTask(
        folder,
        says,
        {text: str},
        {label: Literal[tuple(labels)]},
        st.exact(label),
        _labelled(labels, text, label, column),
        label,
    )


CARDS = (
    "activate_my_card",
    "card_arrival",
    "card_delivery_estimate",
    "card_linking",
    "card_not_working",
    "card_payment_fee_charged",
    "card_payment_not_recognised",
    "pending_top_up",
    "top_up_failed",
    "top_up_reverted",
)
BANKING = (
    "account_blocked",
    "balance",
    "bill_balance",
    "bill_due",
    "freeze_account",
    "interest_rate",
    "min_payment",
    "order_checks",
    "pay_bill",
    "pin_change",
    "report_fraud",
    "routing",
    "spending_history",
    "transactions",
    "transfer",
)

SEARCH_TASKS: Mapping[str, SearchTask] = {
    "banking77": _classify("banking77", "Name the intent of a bank customer's message.", "message", "intent", CARDS),
    "clinc150": _classify("clinc150", "Name the intent of a spoken banking request.", "request", "intent", BANKING),
    "news": _classify(
        "news_aggregator",
        "Name the section of a newspaper that a headline belongs to.",
        "headline",
        "section",
        ("business", "entertainment", "health", "science_technology"),
    ),
    "emotions": _classify(
        "goemotions",
        "Name the emotion of a comment.",
        "comment",
        "emotion",
        ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
        "group",
    ),
    "polarity": _classify(
        "sentence_polarity",
        "Tell whether a sentence of a film review is positive or negative.",
        "sentence",
        "sentiment",
        ("negative", "positive"),
    ),
    "restaurants": SearchTask(
        "restaurants8k",
        "Read the booking details out of a guest's message, as they were said. What was not said is null.",
        {"message": str},
        dict.fromkeys(SLOTS, str | None),
        fields(*SLOTS),
        _booking,
    ),
    "entities": SearchTask(
        "wnut17",
        "List the names of people, places, companies, groups, products and creative works in a post.",
        {"post": str},
        {"names": list[str]},
        named(_f1, "names-f1-v1"),
        _entities,
    ),
    "counting": SearchTask(
        "bbh_dev",
        "Count the things that are asked for.",
        {"question": str},
        {"count": int},
        numeric("count"),
        _counted,
        reasoned=True,
    ),
    "gsm8k": SearchTask(
        "gsm8k",
        "Solve the word problem.",
        {"question": str},
        {"answer": int},
        numeric("answer"),
        _word_problem,
        reasoned=True,
    ),
    "pairs": SearchTask(
        "pandalm_test",
        "Tell which of two responses follows the instruction better.",
        {"instruction": str, "response_1": str, "response_2": str},
        {"better": Literal["1", "2"]},
        st.exact("better"),
        _pair,
        "better",
        _asked,
    ),
}
