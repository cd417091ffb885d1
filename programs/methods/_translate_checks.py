"""What the translate method checks: outputs reproduced, languages and scripts matched, numbers kept."""

from __future__ import annotations

import ast
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillroom.evals.outputs import arguments, difference, outputs, parameters
from stillroom.evals.sandbox import Limits
from stillroom.evals.verifiers.languages import detect
from stillroom.values import digest

__all__ = ["Reproduction", "lopsided", "mismatch", "named", "numbers_kept", "quotes", "scripts_of"]

_NAMES = {
    "ar": "Arabic", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish",
    "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_SCRIPTS = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}  # Japanese mixes them with Han
_LETTERS = 20  # fewer tell no language
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED, _TOLD = 25, 2  # characters of a line of code that a description may not hold, and shorter lines


def named(code: str) -> str:
    """A language as people call it.

    >>> named("hi"), named("gsw")
    ('Hindi', 'gsw')
    """
    return _NAMES.get(code, code)


@dataclass(frozen=True)
class Reproduction:
    """Whether another program gives what a Python function gives.

    Attributes:
        inputs: On how many inputs, where the row brings none.
        seconds: Of all calls of one program together.
    """

    inputs: int
    seconds: float

    def source(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Run the function that is given.

        Returns:
            `names` of its parameters, `tried`, the inputs that it takes, and `wanted`, what it gives for them; or
            `unchecked`, why it says nothing about any translation, "" otherwise.
        """
        nothing: dict[str, Any] = {"names": [], "tried": [], "wanted": [], "unchecked": ""}
        try:
            entry = row["entry"] or _first(row["text"])
            names = list(parameters(row["text"], entry))
            rng = random.Random(digest(row["seed"]))
            inputs = [list(each) for each in row["inputs"]] or arguments(row["text"], entry, self.inputs, rng)
        except ValueError as error:
            return {**nothing, "unchecked": str(error)}
        right = outputs(row["text"], entry, inputs, limits=self.limits)
        # what the source itself refuses says nothing of a translation
        known = [at for at in range(len(right.values)) if at not in right.errors]
        wanted = [right.values[at] for at in known]
        if right.fault or not known:
            return {**nothing, "unchecked": right.fault or "the source fails on every input"}
        if len({digest(each) for each in wanted}) == 1:
            return {**nothing, "unchecked": f"the source gives the same for all of {len(known)} inputs"}
        return {"names": names, "tried": [inputs[at] for at in known], "wanted": wanted, "unchecked": ""}

    def other(self, row: Mapping[str, Any], code: str, language: str) -> dict[str, Any]:
        """Run another program on the inputs that `source` found.

        Returns:
            `checked`, the number of inputs compared; `broken`, why the program is none; `differs`, for which input it
            gives something else. Each reason is "" where there is none.
        """
        entry, wanted = row["entry"] or _first(row["text"]), row["wanted"]
        got = outputs(code, entry, row["tried"], language=language, names=row["names"], like=wanted, limits=self.limits)
        differs = "" if got.fault else difference(row["tried"], wanted, got)
        return {"checked": 0 if got.fault else len(wanted), "broken": got.fault, "differs": differs}

    @property
    def limits(self) -> Limits:
        """Of all calls of one program."""
        return Limits(seconds=self.seconds, cpu_seconds=self.seconds)


def _first(code: str) -> str:
    try:
        return next(node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef))
    except (SyntaxError, StopIteration) as error:
        raise ValueError("the code defines no function") from error


def quotes(row: Mapping[str, Any]) -> str:
    """Why a description is none: it quotes a long line of the code's body, or several as lines of its own."""
    lines = [
        " ".join(line.split()) for line in row["text"].splitlines()[1:] if not line.strip().startswith(('"""', "#"))
    ]
    doc = " ".join(row["doc"].split())
    own = {" ".join(line.split()) for line in row["doc"].splitlines()}
    found = [line for line in lines if line in own]
    found = [line for line in lines if len(line) >= _QUOTED and line in doc] or found * (len(found) >= _TOLD)
    return f"it quotes the code: {found[0]}" if found else ""


# -- languages -------------------------------------------------------------------------


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script a text has, by Unicode's names: LATIN, DEVANAGARI, CJK, ..."""
    names = (unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha())
    return Counter(_SCRIPTS.get(name, name) for name in names)


def mismatch(text: str, language: str = "", prompt: str = "") -> str:
    """Why a text is not in the language it should be in, or "" (F9).

    Args:
        text: An answer, or a translation.
        language: ISO 639-1 code; where "", the prompt's counts.
        prompt: Whose script it should have, and whose language where none is named: a romanised prompt wants no
            answer in Devanagari, nor the other way round.
    """
    own = scripts_of(text)
    if not own:
        return "there are no letters to tell a language by"
    if prompt and (theirs := scripts_of(prompt)):
        (mine, _), (wanted, _) = own.most_common(1)[0], theirs.most_common(1)[0]
        if mine != wanted:
            return f"it is written in {mine.title()} script, the prompt in {wanted.title()}"
    asked = language or (detect(prompt) if sum(scripts_of(prompt).values()) >= _LETTERS else "")
    if not asked or sum(own.values()) < _LETTERS:
        return ""
    found = detect(text) or ""
    # romanised text has a language that the detector does not know: the script was all there was to compare
    if language and prompt and detect(prompt) not in (None, language):
        return ""
    return "" if found.split("-")[0] == asked.split("-")[0] else f"it is written in {named(found)}, not {named(asked)}"


def lopsided(text: str, other: str, ratio: float) -> str:
    """Why two texts can hardly say the same: one is more than `ratio` times as long, in characters; or ""."""
    short, long = sorted(len("".join(each.split())) for each in (text, other))
    return f"one is {long} characters long, the other {short}" if long > ratio * short else ""


def numbers_kept(source: str, translation: str) -> str:
    """Which numbers a translation has lost or made up, or "".

    Digits of all scripts are the same, and signs within numbers do not count: 1,000 is 1.000.
    """
    before, after = _numbers(source), _numbers(translation)
    lost, made = sorted((before - after).elements()), sorted((after - before).elements())
    return f"numbers lost: {lost}, made up: {made}" if lost or made else ""


def _numbers(text: str) -> Counter[str]:
    latin = "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in text)
    return Counter(re.sub(r"[.,]", "", each) for each in _NUMBER.findall(latin))
