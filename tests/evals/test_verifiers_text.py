"""Verifiers of free text: patterns, choices, languages, lengths, quotations, round trips, entailment."""

from __future__ import annotations

import datetime
import itertools
import threading

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier, mean
from stillroom.evals.verifiers import (
    choice,
    entailed,
    find_choice,
    grounded,
    language,
    length,
    matches,
    round_trip,
    script,
)
from stillroom.evals.verifiers.logic import _column

PAGE = "The card arrives within five working days. Call us if it doesn\u2019t."
CAPITALS = {"A": "Paris", "B": "Rome", "C": "New Rome"}
IN_DATE = round_trip("x", datetime.date.fromisoformat, str, kind="iso-date")

# verifier, (expected, outputs) that is right, outputs that are wrong
CASES = {
    "matches": (matches("x", r"[A-Z]{2}-\d+"), ({}, {"x": "AB-12"}), {"x": "AB-12 "}),
    "choice": (choice("x"), ({"x": "B"}, {"x": "The answer is (B)."}), {"x": "The answer is (C)."}),
    "language": (language("x", "en"), ({}, {"x": "We walked along the river."}), {"x": "Wir gingen am Fluss entlang."}),
    "script": (script("x", "Cyrillic"), ({}, {"x": "Карта, 5"}), {"x": "Карта VISA"}),
    "length": (length("x", "words", least=2, most=3), ({}, {"x": "two words"}), {"x": "now it is four"}),
    "grounded": (grounded("x", "page"), ({"page": PAGE}, {"x": ["Five working days"]}), {"x": ["six working days"]}),
    "round_trip": (IN_DATE, ({}, {"x": "2024-03-01"}), {"x": "20240301"}),
    "entailed": (entailed("x", "facts"), ({"facts": ["p -> q", "p"]}, {"x": "q"}), {"x": "~q"}),
}


class TestText(VerifierContract):
    """Every verifier of text keeps the laws."""

    @pytest.fixture(params=CASES)
    def case(self, request):
        return CASES[request.param]

    @pytest.fixture
    def verifier(self, case):
        return case[0]

    @pytest.fixture
    def right(self, case):
        return case[1]

    @pytest.fixture
    def wrong(self, case):
        return case[1][0], case[2]

    def test_it_composes(self, verifier, right, wrong):
        """And, or, not and a weighted mean take it like any other."""
        yes = Verifier("yes", lambda row, out: Verdict.ok())
        assert (verifier & yes)(*right).passed
        assert not (verifier & yes)(*wrong).passed
        assert (verifier | yes)(*wrong).passed
        assert (~verifier)(*wrong).reaches(0.5)
        assert not (~verifier)(*right).passed
        assert mean(verifier, yes, weights=(3, 1))(*right).passed
        assert mean(verifier, yes, weights=(3, 1))(*wrong).score < 1


# --- patterns ------------------------------------------------------------------------


def test_a_pattern_that_backtracks_for_ever_is_unverified():
    """The search is given up, also away from the main thread."""
    verifier, found = matches("x", r"(a|aa)+$", seconds=0.05), []
    said = {"x": "a" * 80 + "c"}
    thread = threading.Thread(target=lambda: found.append(verifier({}, said)))
    thread.start()
    thread.join(30)
    assert found[0].score is None
    assert "0.05 s" in found[0].why


def test_a_search_looks_anywhere_and_a_full_match_does_not():
    """The same pattern, asked in two ways."""
    assert matches("x", r"\d+", how="search")({}, {"x": "no. 5"}).passed
    assert not matches("x", r"\d+")({}, {"x": "no. 5"}).passed
    assert matches("x", r"\d+").name != matches("x", r"\d+", how="search").name


@pytest.mark.parametrize("pattern", ["(", "[a", "*", r"(?P<a>x)(?P<a", 3])
def test_a_broken_pattern_is_refused_when_the_verifier_is_made(pattern):
    """No row is checked with a pattern that cannot be."""
    with pytest.raises(BadConfig):
        matches("x", pattern)


# --- choices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B) Rome", "B"),
        ("B. Rome is right.", "B"),
        ("Answer: B", "B"),
        ("answer is (B), as A is too small", "B"),
        ("The correct answer is **B**.", "B"),
        ("I looked at A and C. The answer: option B", "B"),
        ("The answer is A. No: the final answer is B.", "B"),
        (r"So it is \boxed{B}.", "B"),
        (r"\boxed{A} ... no, \boxed{\text{B}}", "B"),
        ("I choose B because A rock is heavy.", "B"),
        ("Option B", "B"),
        ("A good guess would be (B)", "B"),
        ("It must be B", "B"),
        ("A dog can't, so B", "B"),  # "A" before a word is an article
        ("Rome", "B"),
        ("It is Rome, I think.", "B"),
        ("new rome", "C"),
    ],
)
def test_the_choice_is_found_however_it_is_said(text, letter):
    """Bare letters, brackets, boxes, phrases and the options' own words."""
    assert set(find_choice(text, CAPITALS)) == {letter}


@pytest.mark.parametrize("text", ["Either (A) or (B).", "A, B", "The answer is A. The answer is C.", "Paris or Rome"])
def test_two_choices_by_the_same_rule_are_unverified(text):
    """Ambiguous is not wrong, unless the last one is asked for."""
    assert choice("x", CAPITALS)({"x": "A"}, {"x": text}).score is None
    assert choice("x", CAPITALS, several="last")({"x": "A"}, {"x": text}).score in (0.0, 1.0)


@pytest.mark.parametrize("text", ["", "I do not know.", "D", "Abc", "a dog", "Berlin"])
def test_an_answer_that_names_no_option_is_wrong(text):
    """Saying nothing is a wrong answer, not an open one."""
    assert choice("x", CAPITALS)({"x": "A"}, {"x": text}).score == 0


def test_gold_of_a_choice_is_a_letter_or_the_option_itself():
    """Anything else leaves the row unverified."""
    assert choice("x", CAPITALS)({"x": "rome"}, {"x": "(B)"}).passed
    assert choice("x", CAPITALS)({"x": "(B)"}, {"x": "Rome"}).passed
    assert choice("x", CAPITALS)({"x": "Berlin"}, {"x": "B"}).score is None
    for options in ("A", "AA", "ab", ["A", "BB"], {}):
        with pytest.raises(BadConfig):
            choice("x", options)


# --- languages, scripts, lengths -----------------------------------------------------


def test_a_text_without_letters_is_of_no_language():
    """Unverified, since nothing tells."""
    assert language("x", "fr")({}, {"x": "12345 !!!"}).score is None
    assert script("x", "Latin")({}, {"x": "12345"}).score is None
    assert script("x", "Latin")({}, {"x": "  "}).score == 0


def test_a_language_is_told_the_same_every_time():
    """The detector draws at random, from a fixed seed, whatever the process did before."""
    said = {"x": "Ja, det er en god ide."}
    assert len({language("x", "da")({}, said) for _ in range(8)}) == 1


def test_scripts_join_and_may_be_asked_for_in_part():
    """Japanese takes three; a brand name may be let pass."""
    assert script("x", "Han", "Hiragana", "Katakana")({}, {"x": "日本語のテスト、5円"}).passed
    assert script("x", "Cyrillic", least=0.5)({}, {"x": "Карта VISA"}).passed


@pytest.mark.parametrize("make", [lambda: language("x", "xx"), lambda: script("x", "Klingon"), lambda: script("x"),
                                  lambda: script("x", "Latin", least=0), lambda: length("x", "miles"),
                                  lambda: length("x", "words", least=3, most=2), lambda: grounded("x"),
                                  lambda: round_trip("x", int, str, kind="")])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make):
    """Unknown languages, scripts and units, limits that cannot be met."""
    with pytest.raises(BadConfig):
        make()


@pytest.mark.parametrize(
    ("unit", "text", "count"),
    [
        ("characters", "añb", 3),
        ("words", "don't stop - now", 3),
        ("sentences", "Dr. Smith left. Why?", 2),
        ("lines", "a\n\nb\n", 2),
        ("paragraphs", "a\nb\r\n\r\nc\n\n\n\nd", 3),
    ],
)
def test_length_counts_what_people_count(unit, text, count):
    """Exactly the number passes, one more or less does not."""
    assert length("x", unit, least=count, most=count)({}, {"x": text}).passed
    assert f"has {count} {unit}" in length("x", unit, least=count + 1)({}, {"x": text}).why


# --- grounding -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quote", "there"),
    [
        ("five working days", True),
        ("FIVE  working\ndays.", True),
        ("it doesn't", True),
        ("The card ... working days", True),
        ("working days ... The card", False),
        ("five work", False),  # word ends count
        ("six days", False),
        ("...", False),
        ("", False),
    ],
)
def test_a_quotation_is_there_word_for_word_or_not(quote, there):
    """Case, spaces and quotation marks are forgiven, words and their order are not."""
    assert grounded("x", "page")({"page": PAGE}, {"x": quote}).passed is there


def test_quotations_in_a_free_text_are_checked_and_none_is_unverified():
    """Only what stands in quotation marks, two words or more."""
    verifier = grounded("x", "page", quotes=True)
    said = 'It says "five working days", not “three working days”; a "card" is a card.'
    assert verifier({"page": PAGE}, {"x": said}) == Verdict(0.5, "'three working days' is not in page")
    assert verifier({"page": PAGE}, {"x": "It takes five days."}).score is None
    assert grounded("x", "page")({"page": " "}, {"x": "five"}).score is None


@given(some.text(min_size=1, max_size=80), some.integers(0, 79), some.integers(1, 80))
def test_a_text_is_grounded_in_itself(text, start, size):
    """The whole text is in the text, if it has a word at all; no part of it raises."""
    if any(letter.isalnum() for letter in text) and "..." not in text and "…" not in text:
        assert grounded("x", "page")({"page": text}, {"x": text}).passed
    grounded("x", "page")({"page": text}, {"x": text[start : start + size]})


# --- round trips ---------------------------------------------------------------------


@given(some.dates())
def test_every_date_comes_back(date):
    """What `write` wrote is canonical."""
    assert IN_DATE({}, {"x": date.isoformat()}).passed


def test_a_fault_of_the_functions_goes_through():
    """Only errors that mean "not readable" are the answer's fault."""

    def broken(value):
        raise AttributeError(value)

    with pytest.raises(AttributeError):
        round_trip("x", broken, str, kind="broken")({}, {"x": "a"})


# --- entailment ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "claim", "score"),
    [
        (["rain -> wet", "rain"], "wet", 1.0),
        (["rain -> wet", "wet"], "rain", 0.0),
        (["rain -> wet", "not wet"], "not rain", 1.0),
        (["a or b", "not a"], "b", 1.0),
        (["a <-> b", "b => c"], "¬a ∨ c", 1.0),
        ("a && (b || c)", "(a & b) | (a & c)", 1.0),
        (["a"], "b | ~b", 1.0),
        (["a -> b -> c"], "(a & b) -> c", 1.0),
        (["a", "~a"], "b", None),
        (["for all x"], "b", None),
        ([], "b", None),
        (["a"], "a &", 0.0),
        (["a"], "__import__('os')", 0.0),
        (["a"], "(" * 40 + "a" + ")" * 40, 1.0),
        (["a"], "(" * 400 + "a" + ")" * 400, 0.0),
        (["a"], "~" * 1000 + "a", 1.0),
        (["a"], " & ".join(f"x{i}" for i in range(20)), 0.0),
        ([" & ".join(f"x{i}" for i in range(13))], "y & z", None),
    ],
)
def test_entailment_is_decided_by_the_truth_table(facts, claim, score):
    """Follows, does not, or could not be told."""
    assert entailed("x", "facts")({"facts": facts}, {"x": claim}).score == score


def test_a_claim_that_does_not_follow_comes_with_the_case_against_it():
    """The reason is a row of the truth table."""
    assert entailed("x", "facts")({"facts": "a -> b"}, {"x": "b -> a"}).why == "x does not follow: a=false, b=true"


def test_columns_of_the_truth_table_are_the_bits_of_the_row():
    """Name number `at` is bit `at` of the row's number."""
    for count in range(1, 7):
        for at in range(count):
            assert _column(at, count) == sum(1 << row for row in range(1 << count) if row >> at & 1)


formulas = some.recursive(
    some.sampled_from("abc"),
    lambda part: some.one_of(
        part.map(lambda p: f"(not {p})"),
        some.tuples(part, some.sampled_from(["and", "or"]), part).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    ),
    max_leaves=6,
)


@given(formulas, formulas)
@settings(max_examples=60)
def test_entailment_agrees_with_trying_every_case(fact, claim):
    """Against Python's own and, or, not over all eight cases."""
    cases = [dict(zip("abc", case, strict=True)) for case in itertools.product((False, True), repeat=3)]
    true = [case for case in cases if eval(fact, {}, case)]
    wanted = all(eval(claim, {}, case) for case in true) if true else None
    found = entailed("x", "facts")({"facts": fact}, {"x": claim}).score
    assert found == (None if wanted is None else float(wanted))
