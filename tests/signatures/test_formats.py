"""Formats: what is written is read back, and spellings models use are understood."""

from __future__ import annotations

from typing import Literal

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.signatures import FORMATS, Shape, Unparsed, shape_of
from stillroom.signatures.formats import system_text


class Booking(dspy.Signature):
    """Read a booking."""

    message: str = dspy.InputField()
    people: int | None = dspy.OutputField(ge=1)
    name: str | None = dspy.OutputField()
    seating: Literal["in", "out"] | None = dspy.OutputField()
    notes: list[str] = dspy.OutputField()


class Mood(dspy.Signature):
    """Name the mood."""

    remark: str = dspy.InputField(desc="what was said")
    mood: Literal["glad", "very_sad"] = dspy.OutputField()


BOOKING, MOOD = shape_of(Booking), shape_of(Mood)
# a text field takes any text, but markers of the format and white space around it are not told apart
words = some.text(
    some.characters(codec="utf-8", exclude_characters="<>[]#", exclude_categories=("C", "Z")), min_size=1, max_size=20
).filter(lambda text: text.lower() not in ("null", "none", "n/a"))


@settings(deadline=None)
@given(
    some.sampled_from(["json", "chat", "tags"]),
    some.fixed_dictionaries(
        {
            "people": some.none() | some.integers(1, 99),
            "name": some.none() | words,
            "seating": some.sampled_from(["in", "out", None]),
            "notes": some.lists(words, max_size=3),
        }
    ),
)
def test_what_is_written_is_read_back(name, outputs):
    """The text of a demo parses to the demo's outputs."""
    format = FORMATS[name]
    assert format.parse(BOOKING, format.write(BOOKING, outputs)) == outputs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json", '{"mood": "very_sad"}'),
        ("json", 'Sure!\n```json\n{"mood": "very_sad",}\n```'),
        ("json", '{"mood": "Very Sad"'),
        ("chat", "[[ ## mood ## ]]\nvery_sad\n[[ ## completed ## ]]"),
        ("tags", "<mood> very-sad </mood>"),
        ("tags", "<mood>very_sad"),
        ("bare", " very_sad.\n"),
    ],
)
def test_common_spellings_are_understood(name, text):
    """Fences, trailing commas, missing ends, other cases and hyphens are not failures of the model."""
    assert FORMATS[name].parse(MOOD, text) == {"mood": "very_sad"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json", "glad"),
        ("json", '{"mood": "angry"}'),
        ("json", "[]"),
        ("chat", "glad"),
        ("tags", "glad"),
        ("bare", "so glad"),
    ],
)
def test_an_answer_that_does_not_fit_is_unparsed(name, text):
    """It says what was wrong, and is not guessed at."""
    with pytest.raises(Unparsed, match=r"must|is not one of|is missing"):
        FORMATS[name].parse(MOOD, text)


def test_typed_values_are_read_from_text_formats():
    """Numbers, nulls and lists come out of tags with their types."""
    text = '<people>4</people><name>None</name><seating>OUT</seating><notes>["a"]</notes>'
    assert FORMATS["tags"].parse(BOOKING, text) == {"people": 4, "name": None, "seating": "out", "notes": ["a"]}


def test_a_constraint_breaks_no_right_answer():
    """The regex of bare labels matches each label whole."""
    import re

    regex = FORMATS["bare"].constrain(MOOD)["extensions"]["regex"]
    assert all(re.fullmatch(regex, label) for label in ("glad", "very_sad"))
    assert not FORMATS["bare"].fits(BOOKING)


def test_the_system_message_names_fields_labels_and_form():
    """A snapshot of the whole prompt head."""
    assert system_text(MOOD, "Name the mood.", FORMATS["json"]) == (
        'Name the mood.\n\nYou are given:\n- remark: what was said\n\nGive mood, one of: glad, very_sad.\n\nAnswer with one JSON object with the keys "mood".'
    )


def test_a_shape_survives_json_and_goes_back_to_a_signature():
    """A saved shape needs no Python class."""
    assert Shape.from_json(BOOKING.as_json()) == BOOKING
    again = shape_of(BOOKING.to_signature())
    assert [each.name for each in again.outputs] == ["people", "name", "seating", "notes"]
    assert again.outputs[2].problem("nowhere") is not None
