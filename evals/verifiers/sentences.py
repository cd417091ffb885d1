"""Counting what a text is made of: sentences, words, words in capitals."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["capital_words", "count_sentences", "count_words"]

# General abbreviations, for the Punkt algorithm below; "e.g" and "i.e" are left out because the
# English model that published IFEval figures were made with does not know them either.
_ABBREVIATIONS = (
    "adm ala ariz aug ave bros c.v calif co col colo conn corp cos d.c dec dr feb fla fri ft ga gen inc jan jr kan ky "
    "l.a lt ltd m.b.a maj messrs mg mich minn mr mrs ms n.c n.d n.j n.m n.y nev nov oct okla ore p.m a.m pa ph.d prof "
    "r.i rep reps s.c sen sep sept sr st tenn tues u.k u.n u.s u.s.a u.s.s.r v va vs vt w.va wash wed wis yr"
)
_STARTERS = (
    "according although among both but despite even he however i if in indeed instead it many meanwhile moreover most "
    "nevertheless nonetheless nor separately similarly since so some the there these they this though thus under when "
    "while yet"
)


@cache
def _splitter() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    known = PunktParameters()
    known.abbrev_types = {*_ABBREVIATIONS.split(), *"bcdefghjklmnprstvw"}
    known.sent_starters = set(_STARTERS.split())
    return PunktSentenceTokenizer(known)


@cache
def _tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def count_sentences(text: str) -> int:
    """Count sentences by the Punkt algorithm (Kiss and Strunk 2006) with a fixed list of abbreviations.

    >>> count_sentences("Dr. Smith paid $3.50. Why? Nobody knows...")
    3
    """
    return sum(1 for _ in _splitter().span_tokenize(text))


def count_words(text: str) -> int:
    r"""Count runs of letters, digits and underscores (`\w+`): "don't" is two, "3.5" is two."""
    return len(re.findall(r"\w+", text))


def capital_words(text: str) -> int:
    """Count words in capital letters. "WELL-KNOWN" is one, "A" and "I" are, "NASA's" too."""
    return sum(token.isupper() for token in _tokenizer().tokenize(text))
