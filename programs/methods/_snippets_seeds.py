"""What the snippets method draws, and what it looks at: lines of code, core-sets, cases and their verdicts."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.evals import Decontamination
from stillroom.evals.copies.duplicates import Exact, Match
from stillroom.evals.copies.guarded import Guarded
from stillroom.evals.diversity import k_centres
from stillroom.evals.gates import Clean, Novelty
from stillroom.programs.flow import At
from stillroom.programs.published import Rule

__all__ = [
    "case_text",
    "core",
    "guard",
    "identifiers",
    "named",
    "new",
    "sentences",
    "snippet",
    "verdict_of",
]

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_COMMON = frozenset([
    "and", "are", "class", "def", "elif", "else", "except", "False", "for", "from", "function", "import", "int",
    "list", "None", "not", "return", "self", "str", "the", "this", "True", "try", "with", "while", "yield",
])  # fmt: skip


def snippet(code: str, rng: random.Random, least: int = 1, most: int = 15) -> str:
    """`least` to `most` lines that follow each other, from a line drawn at random; fewer where the code ends before."""
    lines = code.splitlines(keepends=True) or [""]
    begun = rng.randrange(len(lines))
    return "".join(lines[begun : begun + rng.randint(least, most)])


def core(texts: Sequence[str], most: int, rng: random.Random) -> list[int]:
    """At most `most` of the texts, by number: all in order, or a greedy k-centre core-set of their embeddings."""
    if len(texts) <= most:
        return list(range(len(texts)))
    from stillroom.evals import embedding  # its model is read only where there is something to choose

    vectors = embedding.default_embedder().embed(texts)
    return k_centres(vectors, most, rng.randrange(len(texts)))


def sentences(text: str) -> int:
    """How many there are, as WaveCoder counts: pieces between full stops, question and exclamation marks."""
    return sum(bool(each) for each in re.split(r"[.!?](?:\s|$)", text.strip()))


def identifiers(text: str) -> frozenset[str]:
    """The names in a text: words of three characters or more that code does not have anyhow."""
    return frozenset(_WORD.findall(text)) - _COMMON


class _Spaceless(Exact):
    """Texts told apart by all but their white space."""

    def find(self, text: str) -> Match | None:
        return super().find("".join(text.split()))

    def add(self, id: str, text: str) -> None:
        super().add(id, "".join(text.split()))


def new(field: str) -> Novelty:
    """The field is new, whatever its white space (F4, as in OSS-Instruct)."""
    return Novelty(f"new {field}", _Spaceless)


def guard(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> list[At]:
    """F8: none of the fields copies one of the texts; nothing where there are none."""
    if not rows:
        return []
    texts = [Guarded(str(at), str(row["text"]), "guard") for at, row in enumerate(rows, 1)]
    return [At(Clean(Decontamination(texts)), tuple(fields))]


def named() -> Rule:
    """The solution defines the function whose name was the seed."""
    return Rule("defines the function", _defines, by="verifier")


def _defines(row: Mapping[str, Any]) -> str:
    found = re.search(rf"^def {re.escape(row['seed'])}\s*\(", row["solution"], re.MULTILINE)
    return "" if found else f"the solution must define {row['seed']}"


def case_text(case: Mapping[str, Any]) -> str:
    """A case as it is shown to models."""
    return "\n".join(
        f"{name}: {case.get(field) or '-'}"
        for name, field in (
            ("task", "task_name"), ("instruction", "case_instruction"), ("information", "information"),
            ("solution", "solution"),
        )
    )  # fmt: skip


def verdict_of(case: Mapping[str, Any], criteria: int = 0) -> tuple[str, str]:
    """The discriminator's analysis as text, and what is inconsistent about it or "".

    It must go through as many rules as there are `criteria`, and accept a case if and only if it keeps them all.
    """
    rules: Sequence[Mapping[str, Any]] = case["rules"] or ()
    said = "".join(f"\n- {each['rule']}: {'yes' if each['ok'] else 'no'}, {each['reason']}" for each in rules)
    analysis = f"\nanalysis:{said}\n- overall: {'yes' if case['overall'] else 'no'}"
    if len(rules) < criteria:
        return analysis, f"it must go through {criteria} rules, got {len(rules)}"
    if all(each["ok"] for each in rules) != case["overall"]:
        kept = sum(bool(each["ok"]) for each in rules)
        return (
            analysis,
            f"{kept} of {len(rules)} rules are kept, and overall it says {'yes' if case['overall'] else 'no'}",
        )
    return analysis, ""
