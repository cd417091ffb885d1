"""The 25 verifiable instruction types of IFEval, each a factory of a check on the response.

Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models"
(arXiv 2311.07911), table 1. The checks decide as the published code does, its
oddities included (a bullet may be one line of `-` only; six stars are two empty
paragraphs); names and arguments are those of the published prompts.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from stillroom.errors import BadConfig

from .languages import detect
from .patterns import count
from .sentences import capital_words, count_sentences, count_words

__all__ = ["INSTRUCTIONS", "Check", "instruction_check"]

Check: TypeAlias = Callable[[str], bool]

_RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "less than": lambda found, wanted: found < wanted,
    "at least": lambda found, wanted: found >= wanted,
}


def instruction_check(name: str, arguments: Mapping[str, Any]) -> Check:
    """Make the check of one instruction.

    Arguments that are None are left out, as some copies of the data set pad them.

    Raises:
        BadConfig: If there is no such instruction, or the arguments are not what it takes.
        TimeoutError: By the returned check, where a response takes too long to search.
    """
    make = INSTRUCTIONS.get(name)
    if make is None:
        raise BadConfig(f"no such instruction: {name!r}", mend=f"There are: {', '.join(INSTRUCTIONS)}.")
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        raise BadConfig(f"instruction {name} does not take {given!r}: {error}") from error
    return make(**given)


def _compare(relation: str, wanted: int, measure: Callable[[str], int]) -> Check:
    if relation not in _RELATIONS:
        raise BadConfig(f"relation must be one of {', '.join(_RELATIONS)}, got {relation!r}")
    holds, least = _RELATIONS[relation], _whole(wanted)
    return lambda text: holds(measure(text), least)


def _whole(number: Any) -> int:
    # JSON written through a table of columns has 3.0 for 3
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number // 1 or number < 0:
        raise BadConfig(f"a count must be a whole number >= 0, got {number!r}")
    return int(number)


def _words(values: Any) -> list[str]:
    if not isinstance(values, list | tuple) or not values or not all(isinstance(v, str) and v for v in values):
        raise BadConfig(f"keywords must be a list of texts, got {values!r}")
    return [re.escape(value) for value in values]


def _phrase(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadConfig(f"a phrase must be a text, got {value!r}")
    return value.strip()


# --- change_case -------------------------------------------------------------------


def _capital_words(capital_frequency: int, capital_relation: str) -> Check:
    return _compare(capital_relation, capital_frequency, capital_words)


def _english(right_case: Check) -> Check:
    # a text without a language to be told is let pass, as published: "ABC 123" is no evidence against
    return lambda text: right_case(text) and detect(text) in ("en", None)


def _capitals() -> Check:
    return _english(str.isupper)


def _lower_case() -> Check:
    return _english(str.islower)


# --- combination -------------------------------------------------------------------


def _repeat_prompt(prompt_to_repeat: str) -> Check:
    prompt = _phrase(prompt_to_repeat).lower()
    return lambda text: text.strip().lower().startswith(prompt)


def _two_responses() -> Check:
    def two(text: str) -> bool:
        parts = [part.strip() for part in text.split("******")]
        if not all(parts[1:-1]):
            return False
        given = [part for part in parts if part]
        return len(given) == 2 and given[0] != given[1]

    return two


# --- detectable_content ------------------------------------------------------------


def _placeholders(num_placeholders: int) -> Check:
    least = _whole(num_placeholders)
    return lambda text: count(r"\[.*?\]", text) >= least


def _postscript(postscript_marker: str) -> Check:
    marker = _phrase(postscript_marker)
    spelt = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = spelt.get(marker, re.escape(marker.lower()))
    return lambda text: re.search(pattern, text.lower()) is not None


# --- detectable_format -------------------------------------------------------------


def _constrained_response() -> Check:
    options = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
    return lambda text: any(option in text for option in options)


def _json_format() -> Check:
    def is_json(text: str) -> bool:
        text = text.strip()
        for fence in ("```json", "```Json", "```JSON", "```"):
            text = text.removeprefix(fence)
        try:
            json.loads(text.removesuffix("```").strip())
        except (ValueError, RecursionError):
            return False
        return True

    return is_json


def _sections(section_spliter: str, num_sections: int) -> Check:
    heading, least = re.compile(re.escape(_phrase(section_spliter)) + r"\s?\d"), _whole(num_sections)
    return lambda text: len(heading.findall(text)) >= least


def _bullets(num_bullets: int) -> Check:
    exactly = _whole(num_bullets)

    def right_number(text: str) -> bool:
        return count(r"(?m)^\s*\*[^\*].*$", text) + count(r"(?m)^\s*-.*$", text) == exactly

    return right_number


def _highlights(num_highlights: int) -> Check:
    least = _whole(num_highlights)

    def enough(text: str) -> bool:
        single = [found.strip("*").strip() for found in re.findall(r"\*[^\n\*]*\*", text)]
        double = [found[2:-2].strip() for found in re.findall(r"\*\*[^\n\*]*\*\*", text)]
        return sum(map(bool, single + double)) >= least

    return enough


def _title() -> Check:
    def titled(text: str) -> bool:
        return any(_between_angles(line).lstrip("<").rstrip(">").strip() for line in text.split("\n"))

    return titled


def _between_angles(line: str) -> str:
    start, end = line.find("<<"), line.rfind(">>")
    return line[start + 2 : end] if 0 <= start < end - 1 else ""


# --- keywords ----------------------------------------------------------------------


def _existence(keywords: list[str]) -> Check:
    patterns = [re.compile(word, re.IGNORECASE) for word in _words(keywords)]
    return lambda text: all(pattern.search(text) for pattern in patterns)


def _forbidden(forbidden_words: list[str]) -> Check:
    pattern = re.compile(rf"\b(?:{'|'.join(_words(forbidden_words))})\b", re.IGNORECASE)
    return lambda text: pattern.search(text) is None


def _frequency(keyword: str, frequency: int, relation: str) -> Check:
    pattern = re.compile(re.escape(_phrase(keyword)), re.IGNORECASE)
    return _compare(relation, frequency, lambda text: len(pattern.findall(text)))


def _letter_frequency(letter: str, let_frequency: int, let_relation: str) -> Check:
    sign = _phrase(letter).lower()
    if len(sign) != 1:
        raise BadConfig(f"letter must be one character, got {letter!r}")
    return _compare(let_relation, let_frequency, lambda text: text.lower().count(sign))


# --- language, length_constraints, punctuation, startend ---------------------------


def _language(language: str) -> Check:
    code = _phrase(language)
    return lambda text: detect(text) in (code, None)


def _first_word(num_paragraphs: int, nth_paragraph: int, first_word: str) -> Check:
    wanted, nth, start = _whole(num_paragraphs), _whole(nth_paragraph), _phrase(first_word).lower()
    if not 1 <= nth <= wanted:
        raise BadConfig(f"nth_paragraph must be in 1..{wanted}, got {nth_paragraph!r}")

    def starts(text: str) -> bool:
        parts = [part.strip() for part in text.split("\n\n")]
        if sum(map(bool, parts)) != wanted or not parts[nth - 1]:
            return False
        word = parts[nth - 1].split()[0].lstrip("'").lstrip('"').lower()
        return re.split(r"[.,?!'\"]", word, maxsplit=1)[0] == start

    return starts


def _paragraphs(num_paragraphs: int) -> Check:
    exactly = _whole(num_paragraphs)

    def right_number(text: str) -> bool:
        parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
        if not all(parts[1:-1]):
            return False
        return sum(map(bool, parts)) == exactly

    return right_number


def _sentences(num_sentences: int, relation: str) -> Check:
    return _compare(relation, num_sentences, count_sentences)


def _number_words(num_words: int, relation: str) -> Check:
    return _compare(relation, num_words, count_words)


def _no_comma() -> Check:
    return lambda text: "," not in text


def _ends_with(end_phrase: str) -> Check:
    ending = _phrase(end_phrase).lower()
    return lambda text: text.strip().strip('"').lower().endswith(ending)


def _quoted() -> Check:
    def wrapped(text: str) -> bool:
        text = text.strip()
        return len(text) > 1 and text[0] == text[-1] == '"'

    return wrapped


INSTRUCTIONS: Mapping[str, Callable[..., Check]] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capitals,
    "change_case:english_lowercase": _lower_case,
    "combination:repeat_prompt": _repeat_prompt,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained_response,
    "detectable_format:json_format": _json_format,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _number_words,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _ends_with,
    "startend:quotation": _quoted,
}
