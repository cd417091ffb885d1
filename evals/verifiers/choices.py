r"""Multiple choice: find the option that a free-text answer names.

Rules in order; the first that finds an option decides: the answer is an option and
nothing else; the last \boxed{}; "final answer"; "answer is", "answer:", "choose",
"option"; the answer is an option's text, or names just one; letters in parentheses;
letters standing alone. A rule that finds two different options leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import plain
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["choice", "find_choice"]

Several = Literal["unverified", "last"]


def choice(
    name: str, options: Sequence[str] | Mapping[str, str] = "ABCD", *, several: Several = "unverified"
) -> Verifier:
    """Check that output `name` names the gold option.

    Args:
        name: The output field. Gold is a letter, or an option's text.
        options: The letters, or each letter's text.
        several: What two different options by the same rule mean: `unverified`, or the
            `last` one counts, as for models that think aloud and correct themselves.

    Raises:
        BadConfig: If options are not single distinct letters, or `several` is neither.

    >>> choice("answer")({"answer": "B"}, {"answer": "The answer is (C)."})
    Verdict(score=0.0, why='answer is C, not B')
    >>> choice("answer")({"answer": "B"}, {"answer": "Either (B) or (C)."}).score is None
    True
    """
    check_names("choice", (name,))
    texts = dict(options) if isinstance(options, Mapping) else dict.fromkeys(options, "")
    if (
        len(texts) < 2
        or not all(len(k) == 1 and k.isalpha() and k.isupper() for k in texts)
        or len(texts) < len(options)
    ):
        raise BadConfig(f"options must be two or more distinct capital letters, got {options!r}")
    if several not in ("unverified", "last"):
        raise BadConfig(f"several must be 'unverified' or 'last', got {several!r}")

    def check(expected: Row, outputs: Row) -> Verdict:
        gold = _gold(expected.get(name), texts)
        if gold is None:
            return Verdict.unverified(f"gold {name} is none of {', '.join(texts)}: {shown(expected.get(name))}")
        text = outputs.get(name)
        if not isinstance(text, str):
            return Verdict.fail(f"{name} is not text: {shown(text)}")
        found = find_choice(text, texts)
        if not found:
            return Verdict.fail(f"{name} names none of {', '.join(texts)}: {shown(text)}")
        if len(set(found)) > 1 and several == "unverified":
            return Verdict.unverified(f"{name} names {' and '.join(dict.fromkeys(found))}")
        return Verdict.ok() if found[-1] == gold else Verdict.fail(f"{name} is {found[-1]}, not {gold}")

    shown_options = ", ".join(f"{letter}={text!r}" if text else letter for letter, text in texts.items())
    return Verifier(f"choice({name}, {shown_options}, {several})", check)


def find_choice(text: str, options: Mapping[str, str]) -> list[str]:
    """List the letters that the first rule to find any finds in `text`, in order; empty if none does."""
    text = text.strip()[-20_000:]
    for pattern in _patterns("".join(options)):
        if found := [letter.upper() for letter in pattern.findall(text)]:
            return found
        if pattern.pattern.startswith("(?:choose") and (named := _by_text(text, options)):
            return named
    return []


def _patterns(letters: str) -> list[re.Pattern[str]]:
    mark = rf"[\s*_(\[{{$]*(?:\\(?:text|mathrm|textbf)\{{)?[(\[]?([{letters}])(?![\w'’])"
    return [
        re.compile(rf"^[\W_]*([{letters}{letters.lower()}])[\W_]*$"),
        re.compile(rf"^[\s*_]*[(\[]?([{letters}])(?:[)\]]|[.:](?=\s|$))"),
        re.compile(rf"\\boxed\{{{mark}(?!.*\\boxed)", re.DOTALL),
        re.compile(rf"(?i:final\s+(?:answer|choice)(?:\s+is|\s*:)?){_SAID}{mark}"),
        re.compile(rf"(?i:answer(?:\s+is|\s+would\s+be|\s+should\s+be|\s*[:=])){_SAID}{mark}"),
        re.compile(
            rf"(?:choose|pick|select|Choose|Pick|Select|option|Option|choice|Choice)(?i:\s+(?:option|is|answer))?\s*:?{mark}"
        ),
        re.compile(rf"[(\[]([{letters}])[)\]]"),
        # "A" before a word in lower case is an article
        re.compile(rf"(?<![\w'’])([{letters}])(?![\w'’])(?!(?<=A)\s+[a-z])"),
    ]


_SAID = r"[\s*_]*:?\s*(?i:option|choice|letter|the)?\s*:?"


def _by_text(text: str, options: Mapping[str, str]) -> list[str]:
    folded = f" {plain(text)} "
    wholes = [letter for letter, option in options.items() if option and plain(option) == folded.strip()]
    if wholes:
        return wholes
    named = [letter for letter, option in options.items() if option and f" {plain(option)} " in folded]
    # of "red" and "dark red" the longer one was meant
    return [
        one
        for one in named
        if not any(one != other and plain(options[one]) in plain(options[other]) for other in named)
    ]


def _gold(value: Any, options: Mapping[str, str]) -> str | None:
    if not isinstance(value, str):
        return None
    bare = re.sub(r"[\W_]", "", value).upper()
    if bare in options:
        return bare
    found = [letter for letter, option in options.items() if option and plain(option) == plain(value)]
    return found[0] if len(found) == 1 else None
