"""Readability: Flesch reading ease and Flesch-Kincaid grade of English text.

Syllables are counted by rules, since the pronouncing dictionaries are downloads.
The rules agree with the CMU dictionary on most words (docs/data-quality.md has
the measurement), and their errors largely cancel over a text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict
from stillroom.rows import Status

from .texts import TextGate

__all__ = ["Readability", "readability", "readable", "syllables"]

_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_LETTER_RUN = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"')\]]|$)|\n{2,}")
_VOWELS = re.compile(r"[aeiouy]+")
# letters that make no beat of their own
_SILENT = re.compile(
    r"""(?<=[^aeiouyl])e$ | (?<=[aeiouy]l)e$                            # card-e, whil-e, but ta-ble
    | (?<=[^aeiouyszxcgl])es$(?<!ches)(?<!shes) | (?<=[aeiouy]l)es$      # tim-es, fil-es, but box-es
    | (?<=[^aeiouytdl])ed$ | (?<=[aeiouylr]l)ed$                         # walk-ed, fill-ed, but want-ed
    | (?<=[aeiouy][^aeiouy])e(?=(?:ly|ment|ments|ful|fully|less|ty|where|thing|one|day|fore|work)$)  # stat-e-ment
    """,
    re.VERBOSE,
)
# two vowels with a beat each
_APART = re.compile(
    r"""(?<![tscg])i[ao](?!n?$|[gr]e) | (?<=[tscg])ia(?=te|bl) | (?<=[aeiou][dnprvbmxl])i[ao](?=n$)  # var-i-ous, rad-i-o
    | (?<=[^tscgx])iu | ie(?=t|r$|nc|nt) | (?<=[^aeiou])e[io](?=n|l|m|gr|ph|$)  # qui-et, sc-i-ence, vid-e-o
    | (?<=cr)ea(?=t) | (?<=[iy]d|\bar)ea | (?<=^r)ea(?=c|l[^m]) | (?<=th)ea(?=t)  # cre-ate, i-de-a, re-act
    | (?<!q)u(?=a[lr]|ou|it[yo]) | (?<=[aeiouy])ing$ | ism$ | oi(?=ng) | n't$ | (?<=[ou])e(?=r$)
    """,
    re.VERBOSE,
)


def syllables(word: str) -> int:
    """Count the syllables of an English word by its spelling, at least 1.

    >>> [syllables(word) for word in ("card", "table", "reading", "readability")]
    [1, 2, 2, 5]
    """
    bare = re.sub(r"[^a-z]", "", word.lower())
    if len(bare) <= 3:
        return max(1, len(_VOWELS.findall(bare)) - (len(bare) == 3 and bare.endswith("e") and bare[0] in "aeiou"))
    return max(1, len(_VOWELS.findall(bare)) + len(_APART.findall(bare)) - len(_SILENT.findall(bare)))


@dataclass(frozen=True)
class Readability:
    """How hard a text is to read.

    Attributes:
        words: English words that were counted.
        sentences: At least 1.
        ease: Flesch 1948: 206.835 - 1.015 words a sentence - 84.6 syllables a word; 60 to 70 is plain English.
        grade: Kincaid et al. 1975: 0.39 words a sentence + 11.8 syllables a word - 15.59, a US school year.
    """

    words: int
    sentences: int
    ease: float
    grade: float


def readability(text: str) -> Readability | None:
    """Measure `text`; None where it has no words of Latin letters."""
    found = _WORD.findall(text)
    if not found:
        return None
    sentences = max(1, len([part for part in _SENTENCE_END.split(text) if part and _WORD.search(part)]))
    length, beats = len(found) / sentences, sum(map(syllables, found)) / len(found)
    return Readability(
        len(found), sentences, 206.835 - 1.015 * length - 84.6 * beats, 0.39 * length + 11.8 * beats - 15.59
    )


def readable(
    *fields: str,
    lowest: float = -math.inf,
    highest: float = math.inf,
    least_words: int = 20,
    on_fail: Status = "audit",
) -> TextGate:
    """Fail texts whose Flesch-Kincaid grade is outside `lowest`..`highest`.

    Under `least_words` words, or where most letters are not Latin ones, the grade means
    nothing and the text stays unverified.

    Raises:
        BadConfig: If the bounds are the wrong way round, or there are none.
    """
    if not lowest < highest or (math.isinf(lowest) and math.isinf(highest)) or least_words < 1:
        raise BadConfig(
            f"readable needs lowest < highest and one of them finite, got {lowest}, {highest}, {least_words}"
        )

    def test(text: str) -> Verdict:
        found = readability(text)
        if found is None or found.words < least_words:
            return Verdict.unverified(f"too short to measure: {0 if found is None else found.words} words")
        letters = "".join(_LETTER_RUN.findall(text))
        if sum(letter.isascii() for letter in letters) < 0.9 * len(letters):
            return Verdict.unverified("most letters are no English ones")
        if lowest <= found.grade <= highest:
            return Verdict.ok()
        return Verdict.fail(f"grade {found.grade:.1f} is not within {lowest:g}..{highest:g}")

    return TextGate(f"readable({lowest:g}..{highest:g}, {least_words})", test, tuple(fields), on_fail)
