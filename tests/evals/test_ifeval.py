"""The 25 instruction types of IFEval: hand-made responses, both ways, and the published prompts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict
from stillroom.evals.verifiers import INSTRUCTIONS, followed, ifeval, instruction, instruction_check

ENGLISH = "the weather was lovely and we walked along the river until the evening"
GERMAN = "Das Wetter war herrlich und wir gingen bis zum Abend am Fluss entlang spazieren."
HINDI = "मौसम बहुत अच्छा था और हम शाम तक नदी के किनारे टहलते रहे।"

# (type, arguments, responses that follow, responses that do not); the last ones of each are the tricky ones
FIXTURES = [
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["NASA and ESA agree.", "I AM here", "A WELL-KNOWN fact"],  # a hyphenated word is one; "A" and "I" count
        ["Nasa and ESA agree.", "nothing here", "WELL-KNOWN"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        ["Only ONE here", "none", "COVID-19 it was"],
        ["TWO of THEM", "U.S. and UK"],
    ),
    (
        "change_case:english_capital",
        {},
        [ENGLISH.upper(), "THE 3 BEARS LIVED IN A HOUSE IN THE WOODS.", "WE WENT HOME; IT WAS LATE AND VERY COLD!"],
        [ENGLISH, GERMAN.upper(), ENGLISH.upper() + " indeed", "123 456"],
    ),
    (
        "change_case:english_lowercase",
        {},
        [ENGLISH, "we met at 5 p.m. and went home because it was raining", ENGLISH + "!"],
        [ENGLISH.capitalize(), GERMAN.lower(), "i live in New york and i like the people there"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Name a color."},
        ["Name a color. Blue.", "  NAME A COLOR.\nBlue."],  # case and outer space do not count
        ["Blue. Name a color.", "Name a colour. Blue.", "Sure: Name a color. Blue."],
    ),
    (
        "combination:two_responses",
        {},
        ["One.\n******\nTwo.", "******One.******Two.", "One ****** Two ******"],
        ["One.\n******\nOne.", "One. *** Two.", "One.******Two.******Three.", "One.************Two."],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["Dear [name], of [city]", "[a][b]", "[ ] and [] count"],
        ["Dear [name]", "Dear (name), of (city)", "[name\nand] [city]"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\nP.S. Call me.", "Bye. p.s. call", "P. S. Call me."],
        ["Bye.\nPS: call me.", "P.S Call me.", "P.P.S Call me"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["P.P.S And more.", "p. p. s. more", "P.P.S. more"],
        ["P.S. And more.", "PPS more"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well. My answer is maybe.", "My answer is no. Because it is late."],
        ["Yes.", "my answer is yes.", "My answer is yes"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, 2]}', '```json\n{"a": 1}\n```', '```\n"text"\n```', "3"],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1', "[" * 100_000],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\nHello\nSection 2\nBye", "Section1 a Section2 b", "Section 1 Section 2 Section 3"],
        ["SECTION 1 a SECTION 2 b", "Section one. Section two.", "Section 1 only"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  - b", "Two:\n* a\n- b", "* **a**\n* b"],
        ["* a", "* a\n* b\n* c", "1. a\n2. b", "**a**\n* b"],  # bold at the start of a line is no bullet
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and *two*", "**one** and **two**", "*one*\n\ntext *two*"],
        ["*one* only", "one * two", "** ** and *\n*", "__one__ and __two__"],
    ),
    (
        "detectable_format:title",
        {},
        ["<<Poem>>\nText", "Text <<a b>> more", "<<< x >>>"],
        ["<Poem>", "<<>>", "<< >>", "<<over\nlines>>", ">>a<<"],
    ),
    (
        "keywords:existence",
        {"keywords": ["river", "C++"]},
        ["The River runs on C++.", "rivers; c++"],  # a part of a word is enough
        ["The river.", "C++ only", "The river runs on C."],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["can", "rock"]},
        ["We sing.", "The candy rocks."],  # whole words only
        ["We can sing.", "ROCK!", "can-opener"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        ["War is war.", "warm rewards"],  # parts of words count here
        ["War.", "peace"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "less than"},
        ["peace", "One war."],
        ["War and war.", "beware of warlords"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        ["# One\n# Two", "##"],
        ["# One", "none"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "E", "let_frequency": 3, "let_relation": "less than"},
        ["Eve", "a b c", "é é é é"],
        ["Evergreen", "eee"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        [GERMAN, GERMAN.upper(), "12345"],  # nothing to tell a language by is let pass
        [ENGLISH, HINDI],
    ),
    ("language:response_language", {"language": "hi"}, [HINDI], [ENGLISH, GERMAN]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "President"},
        ["One.\n\nPresident he was.", "One.\n\n\"president's\" men", "One.\n\nPRESIDENT"],
        ["President.\n\nTwo.", "One.\nPresident two.", "One.\n\nPresident.\n\nThree.", "One.\n\nPresidents"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["One.\n***\nTwo.", "One. *** Two. ***", "***\nOne.***Two."],
        ["One.\n\nTwo.", "One.\n***\nTwo.\n***\nThree.", "One. *** *** Two.", "One ****** Two"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        ["One. Two! Three?", "Dr. Smith came. He sat. He left."],
        ["One. Two.", "Mr. Smith met Mrs. Jones at 3.30 p.m. on Jan. 5.", "One; two; three"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        ["One sentence only.", "It cost $3.50 in the U.S. market."],
        ["One. Two.", "Really? Yes!"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 4, "relation": "at least"},
        ["one two three four", "don't do that", "3.5 is it"],  # "don't" and "3.5" are two each
        ["one two three", "- - - -", "well-known man"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 4, "relation": "less than"},
        ["one two three", "!!! one"],
        ["one two three four", "can't won't"],
    ),
    (
        "punctuation:no_comma",
        {},
        ["No commas; none.", "Arabic، is another sign"],
        ["Well, no.", "1,000"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Is that all?"},
        ["Yes. Is that all?", '"Yes. is that ALL?"', "Is that all?\n\n"],
        ["Is that all? Yes.", "Is that all", "Is that all?!"],
    ),
    (
        "startend:quotation",
        {},
        ['"All of it."', '  "a"\n', '"He said "no"."'],
        ["All of it.", '"Half of it.', '"', "“curly”", "'single'"],
    ),
]  # fmt: skip

CASES = [(kind, given, text, True) for kind, given, right, _ in FIXTURES for text in right]
CASES += [(kind, given, text, False) for kind, given, _, wrong in FIXTURES for text in wrong]


class TestInstruction(VerifierContract):
    """One fixed instruction keeps the laws."""

    @pytest.fixture
    def verifier(self):
        return instruction("reply", "length_constraints:number_words", num_words=3, relation="at least")

    @pytest.fixture
    def right(self):
        return {}, {"reply": "one two three"}

    @pytest.fixture
    def wrong(self):
        return {}, {"reply": "one two"}


class TestIfeval(VerifierContract):
    """The instructions of a row keep the laws."""

    @pytest.fixture(params=["prompt", "instruction"])
    def verifier(self, request):
        return ifeval(level=request.param)

    @pytest.fixture
    def row(self):
        return {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}

    @pytest.fixture
    def right(self, row):
        return row, {"response": '"No commas."'}

    @pytest.fixture
    def wrong(self, row):
        return row, {"response": '"Well, yes."'}


def test_every_type_has_fixtures_of_both_kinds():
    """All 25 types, several responses each way."""
    assert len(INSTRUCTIONS) == 25
    assert {kind for kind, *_ in FIXTURES} == set(INSTRUCTIONS)
    for kind in INSTRUCTIONS:
        assert sum(case[0] == kind and case[3] for case in CASES) >= 2
        assert sum(case[0] == kind and not case[3] for case in CASES) >= 2


@pytest.mark.parametrize(("kind", "given", "text", "wanted"), CASES)
def test_a_hand_made_response_is_judged_as_by_hand(kind, given, text, wanted):
    """Each check says of each response what a person said."""
    found = instruction("reply", kind, **given)({}, {"reply": text})
    assert found.score == float(wanted)
    assert bool(found.why) is not wanted


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_an_empty_response_follows_nothing(kind):
    """Silence breaks even "no commas"."""
    given = next(given for name, given, *_ in FIXTURES if name == kind)
    assert followed(" \n", [instruction_check(kind, given)]) == [False]
    assert followed(" \n", [instruction_check(kind, given)], loose=True) == [False]


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("startend:quotation", {}, 'Sure, here it is:\n"All of it."'),
        ("startend:end_checker", {"end_phrase": "The end."}, "Text. The end.\nAnything else?"),
        ("detectable_format:json_format", {}, 'Here:\n{"a": 1}\nDone.'),
        ("detectable_format:constrained_response", {}, "My answer is *yes*."),
        ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one two\nthree"),
    ],
)
def test_loose_forgives_an_opening_line_a_closing_line_and_asterisks(kind, given, text):
    """What fails strictly may follow loosely."""
    assert not instruction("x", kind, **given)({}, {"x": text}).passed
    assert instruction("x", kind, loose=True, **given)({}, {"x": text}).passed


def test_the_prompt_level_wants_all_and_the_instruction_level_gives_the_share():
    """Two of three followed is 0 or two thirds."""
    row = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation", "detectable_format:title"], "kwargs": [{}, {}, {}]}  # fmt: skip
    said = {"response": "<<A title>> and no more"}
    assert ifeval()(row, said) == Verdict.fail("breaks startend:quotation")
    assert ifeval(level="instruction")(row, said) == Verdict(1 - 1 / 3, "breaks startend:quotation")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"instruction_id_list": [], "kwargs": []},
        {"instruction_id_list": ["no:such"], "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
        {"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": "many", "relation": "at least"}]},
        {"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 3}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"surprise": 1}]},
        {"instruction_id_list": 3, "kwargs": None},
    ],
)  # fmt: skip
def test_a_row_whose_instructions_cannot_be_read_is_unverified(row):
    """A fault of the row is not the response's."""
    found = ifeval()(row, {"response": "text"})
    assert found.score is None
    assert found.why


def test_arguments_padded_with_none_are_read_as_if_left_out():
    """One published copy of the data gives every key to every instruction."""
    row = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None, "keyword": None}]}
    assert ifeval()(row, {"response": "none"}).passed


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("no:such", {}),
        ("length_constraints:number_words", {"num_words": 3, "relation": "exactly"}),
        ("length_constraints:number_words", {"num_words": -3, "relation": "at least"}),
        ("keywords:existence", {"keywords": "one"}),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}),
        ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}),
    ],
)
def test_bad_arguments_are_refused_when_the_verifier_is_made(kind, given):
    """No guess replaces an argument that makes no sense."""
    with pytest.raises(BadConfig):
        instruction("x", kind, **given)


def test_a_response_made_to_stall_a_search_is_unverified_not_a_hang():
    """Patterns with quadratic cases run under a time limit, and huge texts are not read."""
    check = instruction_check("detectable_format:number_bullet_lists", {"num_bullets": 1})
    assert followed("\n" * 300_000 + "x", [check]) == [None]
    assert followed("[" * 150_000, [instruction_check("detectable_content:number_placeholders", {"num_placeholders": 1})])[0] in (None, False)  # fmt: skip


@given(some.text(max_size=60))
@settings(max_examples=40)
def test_no_response_makes_a_check_raise(text):
    """Whatever is written, every type has an opinion."""
    checks = [instruction_check(kind, given) for kind, given, *_ in FIXTURES]
    strict, loose = followed(text, checks), followed(text, checks, loose=True)
    assert all(held is not None for held in strict)
    assert all(now or not before for before, now in zip(strict, loose, strict=True))  # loose forgives, never adds


def test_all_published_prompts_are_understood():
    """Every instruction of all 541 prompts can be checked, strictly and loosely."""
    here = Path(__file__).parents[2]
    path = Path(os.environ.get("STILLROOM_DATA", here.parent / "shared" / "data")) / "ifeval" / "data.jsonl"
    if not path.exists():
        pytest.skip(f"the IFEval prompts are not at {path}; set STILLROOM_DATA")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 541
    assert {kind for row in rows for kind in row["instruction_id_list"]} == set(INSTRUCTIONS)
    strict, loose = ifeval(level="instruction"), ifeval(level="instruction", loose=True)
    for row in rows:
        said = {"response": row["prompt"]}  # any text will do
        one, other = strict(row, said).score, loose(row, said).score
        assert one is not None
        assert other is not None
        assert one <= other
