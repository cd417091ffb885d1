"""Decontamination: no row of a training set may be a row that something is tested on.

Guarded are the rows of all splits of a task, few-shot demos and the user's own lists of
benchmarks. Prompt and response of a row are both looked at. A row that copies is removed,
with the rule and the source it copies; two things are reported and stay:

- a **paraphrase**, told by embedding cosine, since meaning the same is not a proof of copying;
- a **sibling**, which differs from a guarded text in its numbers alone and has another answer:
  another problem from the same template. With the same answer, or none known, it is removed.

What a row was asked to say is no evidence: a text that shares nothing else with a guarded one stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.values import digest

from .duplicates import Embeds, check_threshold, folded, plain
from .guarded import Guarded, says_something, texts_in
from .leakage import Leakage
from .nearest import closest

__all__ = ["Cleaned", "Decontamination", "Finding", "Parts", "decontaminate", "parts_of"]

PROMPTS = ("prompt", "instruction", "question", "query", "input", "text", "context")
RESPONSES = ("response", "completion", "output", "answer", "target", "rationale", "chosen", "rejected")

_RULES = ("exact", "normalised", "ngram", "contained", "one_word", "words", "sibling", "paraphrase")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


@dataclass(frozen=True)
class Parts:
    """What a row says.

    Attributes:
        prompts: Texts that ask.
        responses: Texts that answer.
        answer: The answer as one value, "" where unknown.
        given: What the row was asked to say; no evidence where it stands inside another text.
    """

    prompts: tuple[str, ...]
    responses: tuple[str, ...] = ()
    answer: str = ""
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """That a part of a row is like a guarded text.

    Attributes:
        part: Which part.
        rule: One of `Leakage`'s rules, "sibling" or "paraphrase".
        similarity: 0..1, by that rule.
        removes: Whether the row goes; else it is only reported.
    """

    part: Literal["prompt", "response"]
    rule: str
    similarity: float
    source: str
    other_id: str
    removes: bool

    def __str__(self) -> str:
        """Say it in one line, as passports and reports show it."""
        return f"{self.part}: {self.rule} {self.similarity:.2f} with {self.source} row {self.other_id}"

    def as_json(self) -> dict[str, Any]:
        """The finding as plain JSON, as passports keep it."""
        return {
            "part": self.part,
            "rule": self.rule,
            "similarity": round(self.similarity, 4),
            "source": self.source,
            "row": self.other_id,
            "removes": self.removes,
        }


@dataclass(frozen=True)
class Cleaned:
    """What `decontaminate` did.

    Attributes:
        kept: The rows that stay, unchanged and in order.
        removed: Why each removed row went, by its id.
        reported: What was found of rows that stay, by their id.
    """

    kept: tuple[Mapping[str, Any], ...]
    removed: Mapping[str, Finding]
    reported: Mapping[str, Finding]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How many rows were removed, by source and rule."""
        return dict(sorted(Counter((each.source, each.rule) for each in self.removed.values()).items()))


class Decontamination:
    """The guarded texts, asked whether rows copy one.

    Args:
        guarded: Texts, as `guarded_task`, `guarded_demos` and `guarded_file` give them.
        ngram: Words in a common run.
        word_overlap: Least F1 of common words.
        boilerplate: In how many guarded texts a run, or a whole text, may stand to be evidence: what every row of
            a benchmark says, such as its instruction, is nobody's row. None takes everything for evidence.
        paraphrase: Least cosine that is reported.
        embedder: Makes the vectors; without one no paraphrase is looked for.

    Raises:
        BadConfig: If a setting is out of range, or there is nothing to guard.
    """

    def __init__(
        self,
        guarded: Iterable[Guarded],
        *,
        ngram: int = 13,
        word_overlap: float | None = 0.85,
        boilerplate: int | None = 10,
        paraphrase: float = 0.9,
        embedder: Embeds | None = None,
    ) -> None:
        check_threshold("paraphrase", paraphrase)
        if boilerplate is not None and boilerplate < 1:
            raise BadConfig(f"boilerplate must be >= 1 or None, got {boilerplate}")
        self._guarded = _but_boilerplate([each for each in guarded if each.text.strip()], boilerplate)
        if not self._guarded:
            raise BadConfig(
                "decontamination needs texts to guard, got none",
                mend="Give the rows of a task (guarded_task) or a benchmark file (guarded_file).",
            )
        texts = {str(at): each.text for at, each in enumerate(self._guarded)}
        self._leakage = Leakage(texts, ngram=ngram, word_overlap=word_overlap, boilerplate=boilerplate)
        self._paraphrase, self._embedder = paraphrase, embedder
        self._vectors: Any = None
        # the same rules between two texts, for what is left of them
        self._alike = partial(Leakage, ngram=ngram, word_overlap=word_overlap)

    def __len__(self) -> int:
        return len(self._guarded)

    @property
    def name(self) -> str:
        """Every setting and a digest of what is guarded, for fingerprints and reports."""
        by = str(getattr(self._embedder, "digest", "embedder"))[:12]
        least = None if self._embedder is None else f"{self._paraphrase:g} by {by}"
        return f"decontamination({len(self)} texts {self._digest}, {self._leakage.name}, paraphrase={least})"

    @property
    def _digest(self) -> str:
        return digest([[each.source, each.id, each.text] for each in self._guarded], 8)

    def examine(self, rows: Sequence[Parts]) -> list[Finding | None]:
        """Give for each row what is worst about it: a finding that removes it, else one to report, else None."""
        asked = [(at, part, text) for at, row in enumerate(rows) for part, text in _asked(row)]
        out: list[Finding | None] = [None] * len(rows)

        def spare(i: int, id: str) -> bool:
            at, part, text = asked[i]
            other = self._guarded[int(id)]
            if self._only_given(rows[at].given, text, other.text):
                return True
            if not (_differ(rows[at].answer, other.answer) and _siblings(text, other.text)):
                return False
            out[at] = _worse(out[at], Finding(part, "sibling", 1.0, other.source, other.id, False))
            return True

        matches = self._leakage.find_many([text for _, _, text in asked], spare=spare)
        for (at, part, _), match in zip(asked, matches, strict=True):
            if match is not None:
                other = self._guarded[int(match.other_id)]
                out[at] = _worse(out[at], Finding(part, match.rule, match.similarity, other.source, other.id, True))
        if self._embedder is not None:
            self._add_paraphrases(self._embedder, [each for each in asked if out[each[0]] is None], out)
        return out

    def _only_given(self, given: Sequence[str], text: str, other: str) -> bool:
        """Whether two texts have nothing in common but what the row was asked to say."""
        left, right = folded(text), folded(other)
        shared = [each for each in map(folded, given) if says_something(each) and each in left and each in right]
        if not shared:
            return False
        for each in shared:
            left, right = left.replace(each, " "), right.replace(each, " ")
        return bool(right.strip()) and self._alike({"": right}).find(left) is None

    def _add_paraphrases(
        self, embedder: Embeds, asked: Sequence[tuple[int, Any, str]], out: list[Finding | None]
    ) -> None:
        if not asked:
            return
        if self._vectors is None:
            self._vectors = embedder.embed([each.text for each in self._guarded])
        places, cosines = closest(embedder.embed([text for _, _, text in asked]), self._vectors)
        for (at, part, _), place, cosine in zip(asked, places, cosines, strict=True):
            if cosine >= self._paraphrase:
                other = self._guarded[place]
                out[at] = _worse(out[at], Finding(part, "paraphrase", cosine, other.source, other.id, False))


def decontaminate(
    rows: Sequence[Mapping[str, Any]],
    against: Decontamination | Iterable[Guarded],
    *,
    prompt: Sequence[str] = PROMPTS,
    response: Sequence[str] = RESPONSES,
    answer: str | None = None,
    id: str = "id",
) -> Cleaned:
    """Remove the rows that copy a guarded text. Changes no row.

    Args:
        rows: As they are trained on; texts in fields, or under "messages" as chats are.
        against: What to guard.
        prompt: Fields that ask, those of them that a row has.
        response: Fields that answer.
        answer: The field that holds the answer as one value; without it siblings count as copies.
        id: The field that names a row; the position names rows without it.

    Raises:
        BadConfig: If a row has none of the fields, or two rows have one id.
    """
    guard = against if isinstance(against, Decontamination) else Decontamination(against)
    ids = [str(row.get(id, at)) for at, row in enumerate(rows)]
    twice = [each for each, count in Counter(ids).items() if count > 1]
    if twice:
        raise BadConfig(f"{id} must be different in every row, got {twice[0]!r} twice")
    found = guard.examine([parts_of(row, prompt=prompt, response=response, answer=answer) for row in rows])
    removed = {name: each for name, each in zip(ids, found, strict=True) if each is not None and each.removes}
    reported = {name: each for name, each in zip(ids, found, strict=True) if each is not None and not each.removes}
    kept = tuple(row for name, row in zip(ids, rows, strict=True) if name not in removed)
    return Cleaned(kept, removed, reported)


def parts_of(
    row: Mapping[str, Any],
    *,
    prompt: Sequence[str] = PROMPTS,
    response: Sequence[str] = RESPONSES,
    answer: str | None = None,
) -> Parts:
    """Read what a row asks and says: each field by itself, and the prompt's fields together.

    Raises:
        BadConfig: If it has neither one of the fields nor "messages".
    """
    turns = [turn for turn in row.get("messages") or () if isinstance(turn, Mapping)]
    asks = [each for name in prompt if name in row for each in texts_in(row[name])]
    says = [each for name in response if name in row and name not in prompt for each in texts_in(row[name])]
    asks += [each for turn in turns if turn.get("role") != "assistant" for each in texts_in(turn.get("content"))]
    says += [each for turn in turns if turn.get("role") == "assistant" for each in texts_in(turn.get("content"))]
    if not turns and not any(name in row for name in (*prompt, *response)):
        raise BadConfig(
            f"a row must have one of the fields {', '.join((*prompt, *response))} or messages, got {sorted(row)}",
            mend="Name the fields that hold text: prompt=[...], response=[...].",
        )
    together = ["\n".join(asks)] if len(asks) > 1 and not turns else []
    known = "" if answer is None or row.get(answer) is None else str(row[answer])
    return Parts((*together, *asks), tuple(says), known)


def _asked(row: Parts) -> list[tuple[Literal["prompt", "response"], str]]:
    asked: dict[str, Literal["prompt", "response"]] = {}
    for text in row.responses:
        if says_something(text):
            asked[text] = "response"
    for text in row.prompts:
        asked[text] = "prompt"
    return [(part, text) for text, part in asked.items() if text.strip()]


def _siblings(text: str, other: str) -> bool:
    """Whether two texts differ, and in their numbers alone."""
    left, right = plain(text), plain(other)
    return left != right and _NUMBER.sub("0", left) == _NUMBER.sub("0", right)


def _differ(left: str, right: str) -> bool:
    return bool(left and right) and plain(left) != plain(right)


def _worse(known: Finding | None, found: Finding) -> Finding:
    """Prefer what removes, then the more certain rule, then the higher similarity; the first of equals."""
    return found if known is None or _weight(found) > _weight(known) else known


def _weight(found: Finding) -> tuple[bool, int, float]:
    return found.removes, -_RULES.index(found.rule), found.similarity


def _but_boilerplate(guarded: list[Guarded], most: int | None) -> list[Guarded]:
    if most is None:
        return guarded
    holders = Counter(folded(each.text) for each in guarded)
    return [each for each in guarded if holders[folded(each.text)] <= most]
