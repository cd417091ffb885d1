"""Toxic words: a short list of our own, kept as hashes, and the user's file on top.

The repository spells no slur out. Each word is a salted BLAKE2b of 8 bytes, made by
`hashed`: that hides words from readers and search engines, not from somebody who
wants to know. A word list knows no context: it finds quotes and reclaimed words,
misses insults made of plain words, and lists that name identities silence the
people named (Dodge et al. 2021 on C4). So the list keeps to words without an
innocent main meaning, names no identity, and sends rows to audit by default.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict
from stillroom.rows import Status
from stillroom.values import digest

from .texts import TextGate
from .toxic_hashes import HASHES

__all__ = ["CATEGORIES", "hashed", "read_words", "toxic_words", "toxicity"]

CATEGORIES = tuple(HASHES)
_SALT = b"stillroom-toxic1"
_LEET = str.maketrans(
    {
        "0": "o",
        "1": "i",
        "3": "e",
        "4": "a",
        "5": "s",
        "7": "t",
        "8": "b",
        "@": "a",
        "$": "s",
        "!": "i",
        "|": "i",
        "*": "",
        "+": "t",
    }
)
# Cyrillic and Greek letters that look like Latin ones
_ALIKE = str.maketrans("аеорсхуікԁɡαορτυνκιβϲ", "aeopcxyikdgaoptuvkibc")
_TOKEN = re.compile(r"[^\W_][\w@$!|*+'-]*|[@$][\w@$!|*+'-]+")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][\s._*-]{1,2}){2,}[^\W_](?![^\W_])")
_ENDINGS = ("", "s", "z", "ed", "er", "ers", "in", "ing")
_NAMES = ("", "s", "z")  # slurs are nouns: with verb endings some become spices


def hashed(word: str) -> str:
    """The hash under which a word of letters stands in a list: 16 hex digits."""
    return blake2b(word.encode(), digest_size=8, salt=_SALT).hexdigest()


def read_words(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read a user's list: one "category: word" a line, or a bare word; "#" opens a comment.

    Raises:
        BadConfig: If the file cannot be read, or a line is not one word of letters.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"a word list must be a text file, got {str(path)!r} ({error})") from error
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        entry = line.split("#", 1)[0].strip()
        category, _, word = entry.rpartition(":")
        word = word.strip().casefold()
        if not entry:
            continue
        if not word.isalpha():
            raise BadConfig(f"a word list has one word of letters a line, got line {number}: {line!r}")
        found.setdefault(category.strip() or "listed", []).append(word)
    return {category: tuple(words) for category, words in found.items()}


def toxicity(
    *fields: str,
    categories: Iterable[str] = CATEGORIES,
    extra: Mapping[str, Iterable[str]] | None = None,
    allow: Iterable[str] = (),
    on_fail: Status = "audit",
) -> TextGate:
    """Fail texts with a listed word, whole words only, however it is spelled in signs.

    Args:
        *fields: What to read; all fields where none is named.
        categories: Of the list that comes along: "profanity", "sexual", "slur".
        extra: The user's words by category, such as `read_words` gives.
        allow: Words that are no fault, such as a name that is on the list.
        on_fail: What a row becomes that fails.

    Raises:
        BadConfig: If a category does not exist, or there is no word to look for.
    """
    chosen = tuple(categories)
    if unknown := [each for each in chosen if each not in HASHES]:
        raise BadConfig(f"categories are {', '.join(CATEGORIES)}, got {unknown[0]!r}")
    extra = {category: tuple(words) for category, words in (extra or {}).items()}
    listed = {code: category for category in chosen for code in HASHES[category]}
    listed |= {hashed(_letters(word)): category for category, words in extra.items() for word in words}
    spared = sorted({_letters(word) for word in allow})
    for word in spared:
        for form in _forms(word):
            listed.pop(hashed(form), None)
    if not listed:
        raise BadConfig("a toxicity gate needs words to look for, got none")

    def test(text: str) -> Verdict:
        found = toxic_words(text, listed)
        if not found:
            return Verdict.ok()
        return Verdict.fail("; ".join(f"{category} word at {start}" for start, _, category in found[:5]))

    shown = f", own {digest([sorted(listed), spared], 8)}" if extra or spared else ""
    return TextGate(f"toxicity({', '.join(chosen)}{shown})", test, tuple(fields), on_fail)


def toxic_words(text: str, listed: Mapping[str, str] | None = None) -> list[tuple[int, int, str]]:
    """Find listed words as (start, end, category), in order; `listed` maps hashes to categories.

    The reasons of the gate name place and category, never the word.
    """
    table = _all() if listed is None else listed
    found = []
    for start, end, token in _tokens(text):
        for code, ending in _codes(token):
            category = table.get(code)
            if category is not None and (category != "slur" or ending in _NAMES):
                found.append((start, end, category))
                break
    return sorted(set(found))


@lru_cache(maxsize=1)
def _all() -> dict[str, str]:
    return {code: category for category, codes in HASHES.items() for code in codes}


def _tokens(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _TOKEN.finditer(text):
        yield match.start(), match.end(), match.group()
    for match in _SPACED.finditer(text):  # w o r d, w.o.r.d
        yield match.start(), match.end(), re.sub(r"[^\w@$!|]|_", "", match.group())


@lru_cache(maxsize=65_536)
def _codes(token: str) -> tuple[tuple[str, str], ...]:
    """The hashes under which a token may be listed, each with the ending that was taken off."""
    return tuple((hashed(form), ending) for form, ending in _forms(_letters(token)).items())


def _letters(token: str) -> str:
    """A token in plain Latin letters: accents off, look-alikes and leet read as the letters they stand for."""
    plain = unicodedata.normalize("NFKD", token.casefold()).translate(_ALIKE)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    if any(letter.isalpha() for letter in plain):  # 455 is a number
        plain = plain.rstrip("!|*+-'").translate(_LEET)
    return re.sub(r"[^a-z]", "", plain)


def _forms(word: str) -> dict[str, str]:
    """The word without endings, with runs of a letter cut to two and to one, and the ending of each."""
    runs = dict.fromkeys((word, re.sub(r"(.)\1{2,}", r"\1\1", word), re.sub(r"(.)\1{2,}", r"\1", word)))
    forms: dict[str, str] = {}
    for run in runs:
        for ending in _ENDINGS:
            form = run.removesuffix(ending)
            if form == run and ending:
                continue
            doubled = ending and len(form) > 3 and form[-1] == form[-2]  # a doubled letter before -ed
            for each in (form, form[:-1]) if doubled else (form,):
                if len(each) > 2:
                    forms.setdefault(each, ending)
    return forms
