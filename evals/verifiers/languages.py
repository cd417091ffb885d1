"""Which language and which script a text is written in."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier

from ._asked import of_text
from .patterns import count

__all__ = ["detect", "language", "script"]


def language(name: str, code: str) -> Verifier:
    """Check that output `name` is written in the language `code` (ISO 639-1, as langdetect names its 55).

    Naive Bayes over character n-grams, seeded, so that a text always gets the same
    answer. Weak on a few words and on close relatives (Danish and Norwegian). A text
    in which no letters are found is unverified.

    Raises:
        BadConfig: If `code` is not one of the languages.

    >>> language("reply", "de")({}, {"reply": "The card arrives within five days."}).why
    'reply is written in en, not de'
    """
    if code not in _detectors().get_lang_list():
        raise BadConfig(
            f"no such language: {code!r}", mend=f"There are: {', '.join(sorted(_detectors().get_lang_list()))}."
        )

    def check(text: str) -> Verdict:
        if not text.strip():
            return Verdict.fail(f"{name} is empty")
        found = detect(text)
        if found is None:
            return Verdict.unverified(f"{name} has no letters to tell a language by")
        return Verdict.ok() if found == code else Verdict.fail(f"{name} is written in {found}, not {code}")

    return of_text(f"language({name}, {code})", name, check)


def script(name: str, *scripts: str, least: float = 1.0) -> Verifier:
    r"""Check that the letters of output `name` belong to the Unicode `scripts` ("Latin", "Cyrillic", "Han").

    Args:
        name: The output field.
        scripts: Long names as in Unicode's Scripts.txt. Japanese is Han, Hiragana, Katakana.
        least: The share of letters that must, in 0..1. Digits, signs and marks do not count.

    Raises:
        BadConfig: If a script does not exist, none is named, or `least` is out of range.

    >>> script("reply", "Cyrillic")({}, {"reply": "Карта VISA"}).why
    'reply: 5 of 9 letters are Cyrillic'
    """
    if not scripts or not 0 < least <= 1:
        raise BadConfig(f"script needs the name of a script and least in 0..1, got {scripts!r}, {least!r}")
    pattern = "[" + "".join(rf"\p{{Script={script}}}" for script in scripts) + "]"
    count(pattern, "")  # refuses an unknown script now rather than at the first row

    def check(text: str) -> Verdict:
        letters = "".join(c for c in text if unicodedata.category(c).startswith("L"))
        if not letters:
            return Verdict.unverified(f"{name} has no letters") if text.strip() else Verdict.fail(f"{name} is empty")
        right = count(pattern, letters)
        if right >= least * len(letters):
            return Verdict.ok()
        return Verdict.fail(f"{name}: {right} of {len(letters)} letters are {' or '.join(scripts)}")

    settings = ", ".join([name, *scripts, f"{least:g}"])
    return of_text(f"script({settings})", name, check)


def detect(text: str) -> str | None:
    """Name the language of `text` by its ISO 639-1 code, or None where nothing tells one.

    The detector of published IFEval figures (langdetect 1.0.9), seeded.
    """
    from langdetect.lang_detect_exception import LangDetectException

    detector = _detectors().create()
    try:
        detector.append(text)
        found = str(detector.detect())
    except LangDetectException:  # no features in the text
        return None
    return None if found == "unknown" else found


@cache
def _detectors() -> Any:
    # a factory of our own: langdetect's is shared by the process and seeded by whoever came first
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.set_seed(0)
    profiles = sorted(path for path in Path(PROFILES_DIRECTORY).iterdir() if path.is_file())
    factory.load_json_profile([path.read_text(encoding="utf-8") for path in profiles])
    return factory
