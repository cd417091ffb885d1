"""The promises that the DATA.md files of the three shipped data sets make."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
INPUTS = {"helpdesk": "message", "booking": "message", "wordsums": "problem"}
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def rows_of(name: str) -> list[dict[str, Any]]:
    """Read the rows of one shipped data set."""
    text = (EXAMPLES / name / "rows.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def normalised(text: str) -> str:
    """Fold case, punctuation and spaces, which do not make a text a different one."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def exact_value(expression: str) -> Fraction:
    """Evaluate numbers, + - * / and parentheses; anything else is a ValueError."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Fraction(ast.get_source_segment(expression, node) or "")
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"a working holds numbers and + - * / only, got {ast.dump(node)}")

    return value(ast.parse(expression, mode="eval").body)


@pytest.mark.parametrize(("name", "count"), [("helpdesk", 432), ("booking", 225), ("wordsums", 168)])
def test_row_counts_are_the_ones_its_page_states(name: str, count: int) -> None:
    """DATA.md and the file agree on how many rows there are."""
    assert len(rows_of(name)) == count
    assert f": {count} " in (EXAMPLES / name / "DATA.md").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_inputs_are_unique_once_normalised(name: str) -> None:
    """No input is empty, and none is there twice."""
    inputs = [normalised(row[INPUTS[name]]) for row in rows_of(name)]
    assert all(inputs)
    assert [text for text, times in Counter(inputs).items() if times > 1] == []


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_no_two_inputs_are_near_duplicates(name: str) -> None:
    """Every pair of inputs has a rapidfuzz ratio below 0.9."""
    from rapidfuzz import fuzz, process

    inputs = [row[INPUTS[name]].casefold() for row in rows_of(name)]
    ratios = process.cdist(inputs, inputs, scorer=fuzz.ratio, score_cutoff=90)
    near = [(inputs[i], inputs[j]) for i, j in zip(*ratios.nonzero(), strict=True) if i < j]
    assert near == []


def test_helpdesk_rows_hold_a_message_and_an_intent() -> None:
    """Both fields are text, and there is no third."""
    for row in rows_of("helpdesk"):
        assert list(row) == ["message", "intent"]
        assert all(isinstance(value, str) and value == value.strip() for value in row.values())


def test_helpdesk_has_36_rows_of_each_intent_and_a_convention_for_it() -> None:
    """The classes are balanced, and intents.json and DATA.md define exactly these."""
    intents = json.loads((EXAMPLES / "helpdesk" / "intents.json").read_text(encoding="utf-8"))
    page = (EXAMPLES / "helpdesk" / "DATA.md").read_text(encoding="utf-8")
    counts = Counter(row["intent"] for row in rows_of("helpdesk"))
    assert counts == dict.fromkeys(intents, 36)
    assert len(intents) == 12
    for intent, convention in intents.items():
        assert f"| `{intent}` | {convention} |" in page


@pytest.mark.parametrize("name", ["helpdesk", "booking"])
def test_classes_are_interleaved(name: str) -> None:
    """No class fills a stretch of the file."""
    field = {"helpdesk": "intent", "booking": "seating"}[name]
    first_half = Counter(row[field] for row in rows_of(name)[: len(rows_of(name)) // 2])
    total = Counter(row[field] for row in rows_of(name))
    assert all(0.2 < first_half[value] / total[value] < 0.8 for value in total)


def test_booking_slots_keep_their_types() -> None:
    """Slots are typed or null: a head count, a plain date, a time in opening hours, a seating of three."""
    for row in rows_of("booking"):
        assert list(row) == ["message", "people", "date", "time", "name", "seating"]
        assert row["people"] is None or (type(row["people"]) is int and row["people"] > 0)
        assert row["date"] is None or re.fullmatch(r"[a-z0-9' ]+", row["date"])
        assert row["time"] is None or re.fullmatch(r"(1[2-9]|2[0-2]):[0-5]\d", row["time"])
        assert row["seating"] in (None, "indoor", "outdoor", "bar")
        assert row["name"] is None or row["name"].casefold() in row["message"].casefold()


def test_booking_page_states_how_often_each_slot_is_given() -> None:
    """The table of DATA.md is the count of the file."""
    page = (EXAMPLES / "booking" / "DATA.md").read_text(encoding="utf-8")
    stated = {
        field: int(count) for field, count in re.findall(r"^\| `(\w+)` \|.*\| (\d+)(?: rows)? \|$", page, re.MULTILINE)
    }
    rows = rows_of("booking")
    assert stated == {field: sum(row[field] is not None for row in rows) for field in rows[0]}


def test_some_bookings_have_no_slot_and_some_have_all_but_one() -> None:
    """Rows range from empty to nearly full."""
    filled = Counter(sum(value is not None for value in row.values()) - 1 for row in rows_of("booking"))
    assert set(filled) == set(range(6))


def test_every_working_evaluates_to_its_answer_exactly() -> None:
    """The expression, evaluated with fractions, is the answer that the row states."""
    for row in rows_of("wordsums"):
        assert list(row) == ["problem", "working", "answer"]
        assert exact_value(row["working"]) == Fraction(str(row["answer"])), row


def test_answers_are_whole_numbers_or_short_decimals() -> None:
    """Whole answers are int, the others float with at most two decimals."""
    answers = [row["answer"] for row in rows_of("wordsums")]
    assert Counter(type(answer) for answer in answers) == {int: 154, float: 14}
    assert all(round(answer, 2) == answer and (type(answer) is int or answer % 1) for answer in answers)


@pytest.mark.parametrize("expression", ["__import__('os')", "2 ** 9", "-1 + x", "True + 1"])
def test_a_working_with_anything_but_arithmetic_is_refused(expression: str) -> None:
    """The check of the workings executes nothing."""
    with pytest.raises(ValueError, match="numbers and"):
        exact_value(expression)
