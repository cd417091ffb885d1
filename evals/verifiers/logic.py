"""Entailment in propositional logic, decided by the whole truth table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["entailed"]

_MOST_ATOMS, _LONGEST, _DEEPEST = 14, 2_000, 60
_TOKEN = re.compile(r"\s*(?:(<->|<=>|↔|->|=>|→|&&?|∧|\|\|?|∨|~|!|¬|\(|\))|([^\W\d]\w*))")
_SAME = {
    "<=>": "<->",
    "↔": "<->",
    "iff": "<->",
    "=>": "->",
    "→": "->",
    "implies": "->",
    "&&": "&",
    "∧": "&",
    "and": "&",
}
_SAME |= {"||": "|", "∨": "|", "or": "|", "!": "~", "¬": "~", "not": "~"}


def entailed(name: str, premises: str) -> Verifier:
    """Check that the formula in output `name` follows from the formulas in the row's field `premises`.

    Formulas over names with ~ & | -> <-> and parentheses, as signs of other styles
    (¬ ∧ ∨ → ↔, ! && || => <=>) or as the words not, and, or, implies, iff; `->` binds
    to the right. Up to 14 names. Quantifiers are not read.

    Unverified are premises that cannot be read, that contradict each other (anything
    follows), and too many names. A formula of the model's that cannot be read fails.

    >>> entailed("so", "facts")({"facts": ["rain -> wet", "rain"]}, {"so": "wet & rain"}).passed
    True
    """
    check_names("entailed", (name, premises))

    def check(expected: Row, outputs: Row) -> Verdict:
        given = expected.get(premises)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list | tuple) or not texts:
            return Verdict.unverified(f"the row has no formulas in {premises}: {shown(given)}")
        try:
            facts = [_tokens(text) for text in texts]
            _truth(facts, _atoms(facts))
        except ValueError as error:
            return Verdict.unverified(f"{premises} cannot be read: {error}")
        try:
            claim = _tokens(outputs.get(name))
            _truth([claim], _atoms([claim]))
        except ValueError as error:
            return Verdict.fail(f"{name} cannot be read as a formula: {error}")
        return _follows(name, facts, claim, premises)

    return Verifier(f"entailed({name}, {premises})", check)


def _follows(name: str, facts: Sequence[list[str]], claim: list[str], premises: str) -> Verdict:
    atoms = _atoms([*facts, claim])
    if len(atoms) > _MOST_ATOMS:
        return Verdict.unverified(f"over {_MOST_ATOMS} names are too many for a truth table: {len(atoms)}")
    given, said = _truth(facts, atoms), _truth([claim], atoms)
    if not given:
        return Verdict.unverified(f"{premises} contradict each other")
    against = given & ~said
    if not against:
        return Verdict.ok()
    row = against.bit_length() - 1
    case = ", ".join(f"{atom}={'true' if row >> at & 1 else 'false'}" for at, atom in enumerate(atoms))
    return Verdict.fail(f"{name} does not follow: {case}")


def _truth(formulas: Sequence[list[str]], atoms: Sequence[str]) -> int:
    """Truth table of the conjunction as one integer: bit r is its value in row r; a name is bit `at` of r."""
    if len(atoms) > _MOST_ATOMS:
        raise ValueError(f"{len(atoms)} names, at most {_MOST_ATOMS}")
    every = (1 << (1 << len(atoms))) - 1
    table = every
    columns = {atom: _column(at, len(atoms)) for at, atom in enumerate(atoms)}
    for tokens in formulas:
        table &= _Reader(tokens, {**columns, "true": every, "false": 0}, every).formula()
    return table


def _column(at: int, count: int) -> int:
    # 2**at zeros, then as many ones, over and over: the column of name `at`
    block = ((1 << (1 << at)) - 1) << (1 << at)
    width = 2 << at
    while width < 1 << count:
        block |= block << width
        width *= 2
    return block


@dataclass
class _Reader:
    """Reads tokens by precedence, from <-> (weakest) to ~, and works out tables on the way."""

    tokens: list[str]
    columns: Mapping[str, int]
    every: int
    at: int = 0

    def formula(self) -> int:
        found = self._iff()
        if self.at < len(self.tokens):
            raise ValueError(f"{self.tokens[self.at]!r} stands where it cannot")
        return found

    def _iff(self) -> int:
        found = self._implies()
        while self._take("<->"):
            found = self.every & ~(found ^ self._implies())
        return found

    def _implies(self) -> int:
        found = self._or()
        return (self.every & ~found) | self._implies() if self._take("->") else found

    def _or(self) -> int:
        found = self._and()
        while self._take("|"):
            found |= self._and()
        return found

    def _and(self) -> int:
        found = self._not()
        while self._take("&"):
            found &= self._not()
        return found

    def _not(self) -> int:
        flips = 0
        while self._take("~"):
            flips += 1
        found = self._atom()
        return self.every & ~found if flips % 2 else found

    def _atom(self) -> int:
        if self._take("("):
            found = self._iff()
            if not self._take(")"):
                raise ValueError("a parenthesis is not closed")
            return found
        if self.at == len(self.tokens) or self.tokens[self.at] not in self.columns:
            raise ValueError("a name is missing")
        self.at += 1
        return self.columns[self.tokens[self.at - 1]]

    def _take(self, token: str) -> bool:
        taken = self.at < len(self.tokens) and self.tokens[self.at] == token
        self.at += taken
        return taken


def _tokens(text: Any) -> list[str]:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{shown(text)} is not text")
    if len(text) > _LONGEST or text.count("(") + len(re.findall("->|=>|→|implies", text)) > _DEEPEST:
        raise ValueError("it is too long")
    tokens, at, text = [], 0, text.strip().rstrip(".")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 10].strip()!r} is no part of a formula")
        word = found[1] or found[2]
        tokens.append(_SAME.get(word.lower() if found[2] else word, word))
        at = found.end()
    return tokens


def _atoms(formulas: Sequence[list[str]]) -> list[str]:
    words = {token for tokens in formulas for token in tokens if token[0].isalpha() or token[0] == "_"}
    return sorted(words - {"true", "false"})
