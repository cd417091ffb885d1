"""Filters of boilerplate, refusals, toxic words and hard reading: what they catch and what they let be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import BadConfig
from stillroom.evals.filters import (
    RULES,
    Echo,
    boilerplate,
    echoes,
    read_words,
    readability,
    readable,
    refusal,
    refusal_rise,
    refuses,
    syllables,
    toxic_words,
    toxicity,
)
from stillroom.evals.filters.toxic_hashes import HASHES
from stillroom.evals.filters.toxicity import hashed
from stillroom.evals.gates import Candidate

DATA = Path(__file__).parents[3] / "shared" / "data"
PLAIN = "My card was stopped yesterday, and I would like a new one before Friday."


def candidate(**values) -> Candidate:
    return Candidate("c/0/0", values, " ".join(map(str, values.values())), {})


class TestBoilerplateIsAVerifier(VerifierContract):
    """The laws of verifiers hold."""

    @pytest.fixture
    def verifier(self):
        return boilerplate().verifier()

    @pytest.fixture
    def right(self):
        return {}, {"text": PLAIN}

    @pytest.fixture
    def wrong(self):
        return {}, {"text": "As an AI language model, I have no card."}


class TestToxicityIsAVerifier(VerifierContract):
    """The laws of verifiers hold."""

    @pytest.fixture
    def verifier(self):
        return toxicity(extra={"mild": ["drat"]}).verifier()

    @pytest.fixture
    def right(self):
        return {}, {"text": PLAIN}

    @pytest.fixture
    def wrong(self):
        return {}, {"text": "Oh, drat it."}


class TestEchoIsAVerifier(VerifierContract):
    """The laws of verifiers hold."""

    @pytest.fixture
    def verifier(self):
        return Echo(("answer",), ("question",)).verifier()

    @pytest.fixture
    def right(self):
        return {"question": "What is the tallest hill here?"}, {"answer": "It is the mill hill."}

    @pytest.fixture
    def wrong(self):
        return {"question": "What is the tallest hill here?"}, {
            "answer": "What is the tallest hill here? The mill hill."
        }


CAUGHT = [
    ("self-identification", "As an AI language model, I have no opinions."),
    ("self-identification", "My knowledge cutoff is in 2023."),
    ("refusal", "I'm sorry, but I can't help with that request."),
    ("refusal", "I apologize, but I am unable to provide that information."),
    ("refusal", "I cannot assist with illegal activities."),
    ("refusal", "I must respectfully decline to write this."),
    ("placeholder", "Dear [insert name], your order has shipped."),
    ("placeholder", "Best regards, [Your Name]"),
    ("placeholder", "Hello {{ customer }}!"),
    ("lorem ipsum", "Lorem ipsum dolor sit amet."),
    ("chat template", "Fine.<|im_end|>"),
    ("chat template", "### Instruction: write a poem"),
    ("chat template", "[[ ## answer ## ]] 4"),
    ("assistant's preamble", "Sure! Here's a message from a customer."),
    ("assistant's preamble", "Here is the rewritten text:\nThe text."),
    ("assistant's preamble", "The answer is 4. Let me know if you have any questions!"),
    ("markdown", "```json\n{}\n```"),
    ("markdown", "# A title\nand text"),
    ("links only", "https://firm.co/a?b=c"),
    ("truncated", "I went to the bank and they told me that the"),
    ("truncated", "First, second, third,"),
    ("truncated", "Look:\n```python\nx = 1"),
]
LEFT_ALONE = [
    PLAIN,
    "I'm sorry, but I can't access my account since this morning.",
    "Sorry, I cannot find my card anywhere.",
    "I can't help thinking that I was charged twice.",
    "Unfortunately I can't use the app to share my PIN with anyone.",
    "is there a fee for topping up",
    "what documents do i need for that",
    "See https://firm.co for the terms [1].",
    "def f(x):\n    # Example usage\n    return x",
    "Is AI taking over? :(",
    "The list [a, b] has two items.",
    "Great question on the quiz last night",
]


class TestBoilerplate:
    """What the rules catch and let be."""

    @pytest.mark.parametrize(("rule", "text"), CAUGHT)
    def test_catches(self, rule, text):
        """Each rule finds what it is named for, and the gate says so."""
        assert RULES[rule](text)
        [verdict] = boilerplate().check([candidate(text=text)])
        assert not verdict.passed
        assert rule in verdict.why

    @pytest.mark.parametrize("text", LEFT_ALONE)
    def test_leaves_alone(self, text):
        """What people write to a bank, and what only looks like boilerplate."""
        assert boilerplate().verifier()({}, {"text": text}).passed

    @given(st.text(max_size=400))
    def test_any_text_has_a_verdict(self, text):
        """Never raises; a failure has a reason."""
        found = boilerplate().verifier()({}, {"text": text})
        assert found.passed or found.why

    def test_reads_every_field_or_those_named(self):
        """Prompt and response both, lists looked into; one named field alone."""
        row = candidate(prompt="As an AI, write", answers=["fine"])
        assert [gate.check([row])[0].passed for gate in (boilerplate(), boilerplate("answers"))] == [False, True]

    def test_an_unparsed_row_is_read_as_written(self):
        """The raw text is checked where there are no values."""
        [verdict] = boilerplate("answer").check([Candidate("p", {}, "As an AI, no.", {}, fault="no JSON")])
        assert "self-identification" in verdict.why

    def test_rules_can_be_left_out_and_the_name_says_so(self):
        """Answers that are meant to have markdown keep it."""
        without = boilerplate(without=["markdown"])
        assert without.verifier()({}, {"a": "# Title\nText."}).passed
        assert "markdown" not in without.name
        assert without.name != boilerplate().name
        for bad in ({"rules": ["spelling"]}, {"without": list(RULES)}, {"on_fail": "dropped"}):
            with pytest.raises(BadConfig):
                boilerplate(**bad)

    def test_flags_few_texts_that_people_wrote(self):
        """Under 1 % of 3,140 customer messages."""
        texts = []
        for name in ("banking77", "clinc150"):
            path = DATA / name / "train.jsonl"
            if not path.is_file():
                pytest.skip("needs ../shared/data")
            texts += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        check = boilerplate().verifier()
        assert sum(not check({}, {"text": text}).passed for text in texts) < 0.01 * len(texts)


class TestRefusals:
    """Refusals over a set of prompts."""

    def test_a_rise_of_over_two_points_fails(self):
        """Refusals on harmless prompts, before and after."""
        no, yes = "I'm sorry, but I can't help with that.", "The mill hill."
        assert not refuses(no).passed
        assert refusal().verifier()({}, {"a": yes}).passed
        assert refusal_rise([yes] * 100, [no] * 2 + [yes] * 98).passed
        found = refusal_rise([yes] * 100, [no] * 3 + [yes] * 97)
        assert found.score == 0
        assert "0.030" in found.why
        assert not refusal_rise([], []).verified
        with pytest.raises(BadConfig):
            refusal_rise([yes], [])


class TestEcho:
    """Answers that repeat their prompt."""

    def test_a_long_run_or_a_whole_prompt_is_an_echo(self):
        """Twelve words in a row; short prompts only as a whole, one-word prompts never."""
        prompt = "Write a message from a customer whose card was stolen while travelling in Spain"
        assert not echoes(f"{prompt}. Help!", [prompt]).passed
        assert echoes("A message from a customer whose card was lost.", [prompt]).passed
        assert not echoes("Answer the question briefly: 4", ["answer the question briefly"]).passed
        assert echoes("Card lost", ["card"]).passed

    def test_it_is_a_gate_with_its_settings_in_the_name(self):
        """Fixed texts count, by digest in the name."""
        gate = Echo(("answer",), texts=("one two three four five",))
        assert [
            each.passed for each in gate.check([candidate(answer="one two three four five"), candidate(answer="six")])
        ] == [False, True]
        assert gate.name != Echo(("answer",), texts=("other words than these",)).name
        with pytest.raises(BadConfig):
            Echo(("answer",))


class TestToxicity:
    """Listed words in disguise."""

    def test_reads_through_leet_accents_spacing_and_endings(self):
        """The spellings of one listed word, whole words only."""
        check = toxicity(categories=(), extra={"mild": ["blimey"]}).verifier()
        for text in (
            "Blimey!",
            "BL1M3Y",
            "bl!mey",
            "b l i m e y",
            "b.l.i.m.e.y",
            "blímey",
            "blimeys",
            "blimeeeey",
            "blіmеy",
        ):
            assert not check({}, {"t": text}).passed, text
        for text in ("sublimey", "blimeyish", "blime", "8113 57", "b l i m"):
            assert check({}, {"t": text}).passed, text

    def test_the_list_is_kept_as_hashes_and_reasons_name_no_word(self, tmp_path):
        """Sixteen hex digits a word; a reason is category and place."""
        assert all(len(code) == 16 and int(code, 16) >= 0 for codes in HASHES.values() for code in codes)
        found = toxicity(extra={"own": ["zounds"]}).verifier()({}, {"t": "O zounds"})
        assert found.why == "t: own word at 2"
        assert hashed("zounds") not in {code for codes in HASHES.values() for code in codes}

    def test_a_file_of_ones_own_goes_on_top_and_words_can_be_allowed(self, tmp_path):
        """category: word, comments, bare words."""
        path = tmp_path / "words.txt"
        path.write_text("# ours\nmild: drat\nzounds # old\n", encoding="utf-8")
        extra = read_words(path)
        assert extra == {"mild": ("drat",), "listed": ("zounds",)}
        assert not toxicity(extra=extra).verifier()({}, {"t": "zounds"}).passed
        assert toxicity(extra=extra, allow=["zounds"]).verifier()({}, {"t": "zounds"}).passed
        assert toxicity(extra=extra).name != toxicity().name
        path.write_text("two words\n", encoding="utf-8")
        with pytest.raises(BadConfig, match="line 1"):
            read_words(path)
        with pytest.raises(BadConfig):
            read_words(tmp_path / "none.txt")
        with pytest.raises(BadConfig):
            toxicity(categories=["rude"])

    @pytest.mark.parametrize(
        "text",
        [
            "Spicy spices, spiced.",
            "a classic assessment in Scunthorpe",
            "455 and 80085",
            "cocktail",
            "Dickens",
            "a chink in the wall",
        ],
    )
    def test_innocent_words_stay(self, text):
        """Whole words, and no number read as letters."""
        assert toxic_words(text) == []

    @given(st.text(max_size=200))
    def test_any_text_has_an_answer(self, text):
        """Spans lie inside the text, in order."""
        found = toxic_words(text)
        assert all(0 <= start < end <= len(text) for start, end, _ in found)
        assert found == sorted(found)


class TestReadability:
    """Grades of school."""

    def test_formulas_are_those_of_flesch_and_kincaid(self):
        """Six words, six syllables, one sentence."""
        found = readability("The cat sat on the mat.")
        assert (found.words, found.sentences) == (6, 1)
        assert found.ease == pytest.approx(206.835 - 1.015 * 6 - 84.6)
        assert found.grade == pytest.approx(0.39 * 6 + 11.8 - 15.59)
        assert readability("42 !") is None

    @pytest.mark.parametrize(
        ("word", "count"),
        [("a", 1), ("the", 1), ("one", 1), ("card", 1), ("table", 2), ("walked", 1), ("wanted", 2), ("reading", 2),
         ("customer", 3), ("statement", 2), ("information", 4), ("idea", 3), ("area", 3), ("create", 2), ("immediately", 5)],
    )  # fmt: skip
    def test_syllables(self, word, count):
        """As the CMU dictionary has them."""
        assert syllables(word) == count

    def test_hard_texts_fail_and_short_ones_stay_unverified(self):
        """Three states."""
        gate = readable(highest=8, least_words=10)
        easy = "I lost my card. I need a new one. Can you send it to my house today?"
        hard = "Notwithstanding considerable organisational reluctance, institutional intermediaries systematically overestimate macroeconomic predictability."
        scores = [
            each.score
            for each in gate.check(
                [
                    candidate(t=easy),
                    candidate(t=hard),
                    candidate(t="Short."),
                    candidate(t="карта потеряна " * 9 + "a b c d e f g h i j"),
                ]
            )
        ]
        assert scores == [1.0, 0.0, None, None]
        assert gate.on_fail == "audit"
        for bad in ({}, {"lowest": 9, "highest": 3}):
            with pytest.raises(BadConfig):
                readable(**bad)

    @given(st.text(max_size=300))
    def test_any_text_has_an_answer(self, text):
        """Finite figures, or None."""
        found = readability(text)
        assert found is None or (found.words >= 1 and found.sentences >= 1 and abs(found.grade) < 1e4)
