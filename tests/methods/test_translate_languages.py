"""The acceptance checks of the translate method on people's languages: scripts, languages and numbers are kept."""

from __future__ import annotations

import pytest
from recipe_world import World, sample_rows, stopped, values

from stillroom.programs.methods._translate_checks import mismatch, numbers_kept

HINDI = "अपने शिक्षक को धन्यवाद देने के लिए एक छोटा पत्र लिखिए।"
ROMAN = "Mujhe subah jaldi uthne ki aadat kaise dalni chahiye?"


@pytest.mark.acceptance("2.6 D3")
@pytest.mark.parametrize(
    ("prompt", "answer", "language", "passes"),
    [
        (HINDI, "Priya shikshak, aapka bahut bahut dhanyavaad.", "hi", False),  # Latin letters to Devanagari
        (HINDI, "Dear teacher, thank you very much for everything.", "hi", False),
        (HINDI, "Dear teacher, thank you very much for everything.", "", False),
        (HINDI, "प्रिय शिक्षक, आपने मुझे जो सिखाया उसके लिए धन्यवाद।", "hi", True),
        (HINDI, "प्रिय शिक्षक, आपने मुझे जो सिखाया उसके लिए धन्यवाद।", "", True),
        (ROMAN, "सुबह जल्दी उठने के लिए रात को जल्दी सोइए।", "hi", False),  # and the other way round
        (ROMAN, "Raat ko jaldi so jaiye aur phone door rakhiye.", "hi", True),
        (
            "Wie bekomme ich einen Rotweinfleck aus einer Tischdecke?",
            "Use salt and sparkling water on the stain at once.",
            "de",
            False,
        ),
        (
            "Wie bekomme ich einen Rotweinfleck aus einer Tischdecke?",
            "Streuen Sie gleich Salz auf den Fleck und spülen Sie ihn aus.",
            "de",
            True,
        ),
        ("Wie bekomme ich einen Rotweinfleck aus einer Tischdecke?", "42", "de", False),  # nothing to tell by
        (
            "日本の首都はどこですか。理由も教えてください。",
            "日本の首都は東京です。政府の機関が集まっているからです。",
            "ja",
            True,
        ),
    ],
)
def test_an_answer_has_script_and_language_of_its_prompt(prompt, answer, language, passes):
    assert (mismatch(answer, language, prompt) == "") is passes


@pytest.mark.acceptance("2.6 D3")
def test_a_latin_answer_to_a_devanagari_prompt_is_rejected_in_a_run(tmp_path):
    said = {HINDI: ["Dear teacher, thank you.", "Namaste, aapka dhanyavaad."], "late": []}
    turn = iter(said[HINDI])
    here = World({"answer": lambda inputs: {"response": next(turn)}})
    prompts = [{"prompt": HINDI, "language": "hi"}]
    emitted = here.run("llama3-multilingual", tmp_path, rows=1, given={"prompts": prompts}, params={"samples": 2})
    assert len(emitted.rows) == 0
    (row,) = emitted.rejects
    assert row.gate == "in the prompt's language"
    assert "Latin script, the prompt in Devanagari" in row.why
    assert row.passport.verdicts[-1]["by"] == "verifier"


def test_an_answer_that_is_the_prompt_is_none(tmp_path):
    here = World({"answer": lambda inputs: {"response": f"  {inputs['instruction']}\n"}})
    prompts = [{"prompt": HINDI, "language": "hi"}]
    emitted = here.run("llama3-multilingual", tmp_path, rows=1, given={"prompts": prompts})
    assert stopped(emitted) == {"no echo": 1}


def test_of_several_answers_the_first_in_its_language_is_taken(tmp_path):
    right = "प्रिय शिक्षक, आपने मुझे जो सिखाया उसके लिए धन्यवाद।"
    turn = iter(["Dear teacher, thank you.", right])
    here = World({"answer": lambda inputs: {"response": next(turn)}})
    prompts = [{"prompt": HINDI, "language": "hi"}]
    emitted = here.run("llama3-multilingual", tmp_path, rows=1, given={"prompts": prompts}, params={"samples": 2})
    assert values(emitted.rows, "completion") == [right]


@pytest.mark.parametrize(
    ("source", "translation", "kept"),
    [
        ("It costs 1,000 euros for 3.", "Es kostet 1.000 Euro für 3.", True),
        ("It costs 12 euros.", "Es kostet 21 Euro.", False),
        ("5 of 5", "5 von 6", False),
        ("7 apples", "sieben Äpfel", False),
        ("70 and 7", "७० और ७", True),
    ],
)
def test_a_translation_keeps_its_numbers(source, translation, kept):
    assert (numbers_kept(source, translation) == "") is kept


@pytest.mark.parametrize(
    ("translation", "gate"),
    [
        ("The last one", "length ratio <= 3"),
        ("The ferryman waits until the last cyclist has tied up his bicycle, too.", ""),
        ("The ferryman waits, " * 20, "length ratio <= 3"),
        ("Le passeur attend que le dernier cycliste ait attaché son vélo.", "in the language asked for"),
        ("der Fährmann wartet, bis auch der letzte Radfahrer sein Rad festgebunden hat.", "in the language asked for"),
    ],
)
def test_a_source_side_that_is_no_translation_is_rejected(translation, gate, tmp_path):
    here = World({"translate": lambda inputs: {"translation": translation}})
    emitted = here.run("back-translation", tmp_path, rows=1, given={"texts": sample_rows("sentences.jsonl")[:1]})
    assert [row.gate for row in emitted.rejects] == ([gate] if gate else [])
    assert len(emitted.rows) == (not gate)


def test_translated_reasoning_that_loses_a_number_or_its_language_is_rejected(tmp_path):
    turn = iter(range(99))

    def translate(inputs):
        numbers = " ".join(part.strip(".") for part in inputs["text"].split() if any(map(str.isdigit, part)))
        german = f"Das ist die Aufgabe, die wir heute in der Schule lösen wollen: {numbers}"
        at = next(turn) // 2
        return {"translation": german.replace("8", "9") if at == 0 else inputs["text"] if at == 1 else german}

    emitted = World({"translate": translate}).run(
        "llama3-multilingual-reasoning", tmp_path, rows=12, params={"languages": ["de"]}
    )
    assert stopped(emitted) == {"numbers are kept": 1, "in the language asked for": 1}
