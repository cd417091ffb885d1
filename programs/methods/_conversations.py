"""Conversations that people saved: their turns in one form, the rules they must keep, and cutting them at a length.

The rules are those of FastChat's cleaning of ShareGPT (clean_sharegpt, optional_clean, filter_wrong_format,
split_long_conversation), each as a function that says why not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stillroom.programs.published import Rule

from ._html import markdown
from ._texts import tokens

__all__ = ["Turn", "conversation_rules", "pieces", "trimmed", "turns"]

Turn = Mapping[str, str]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
          "bard": "assistant", "assistant": "assistant", "system": "system"}  # fmt: skip
RATE_LIMITS = re.compile(
    r"\A\W*(?:too many requests in 1 hour|rate limit reached|we're currently processing too many requests|network error\b"
    r"|error in body stream|something went wrong\b.{0,80}(?:try again|help\.)|an error occurred\b.{0,80}try again)",
    re.IGNORECASE | re.DOTALL,
)
_WRONG_NUMBERS = re.compile(r"(?:\A|\n)1\. (?:(?!\n2\. )[^\0])*?\n1\. ")
_SAME_DIGITS = re.compile(r"(\d)\1{8}")


def turns(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns of a row as role and content, from `messages` (role, content) or `conversations` (from, value)."""
    given: Sequence[Mapping[str, Any]] = row.get("messages") or row.get("conversations") or []
    found = []
    for each in given:
        role = str(each.get("role") or each.get("from") or "")
        said = each.get("content") if "content" in each else each.get("value")
        found.append({"role": _ROLES.get(role.lower(), role), "content": markdown(str(said or ""))})
    return found


def trimmed(given: Sequence[Turn]) -> list[Turn]:
    """From the first turn of a person to the last of the assistant; a system message before them stays."""
    system = [each for each in given[:1] if each["role"] == "system"]
    rest = list(given[len(system) :])
    if rest and rest[0]["role"] != "user":
        rest = rest[1:]
    if rest and rest[-1]["role"] == "user":
        rest = rest[:-1]
    return [*system, *rest]


def _said(messages: Sequence[Turn]) -> list[Turn]:
    return [each for each in messages if each["role"] != "system"]


def _short(messages: Sequence[Turn]) -> str:
    return "" if len(_said(messages)) >= 2 else f"a conversation has 2 turns or more, got {len(_said(messages))}"


def _roles(messages: Sequence[Turn]) -> str:
    wrong = [at for at, each in enumerate(_said(messages)) if each["role"] != ("user", "assistant")[at % 2]]
    return f"turn {wrong[0] + 1} is by the wrong one" if wrong else ""


def _empty(messages: Sequence[Turn]) -> str:
    return "a turn is empty" if any(not each["content"].strip() for each in messages) else ""


def _few(messages: Sequence[Turn]) -> str:
    count = sum(len(each["content"]) for each in messages)
    return "" if count >= 16 else f"a conversation has 16 characters or more, got {count}"


def _limited(messages: Sequence[Turn]) -> str:
    found = next(
        (each for each in messages if each["role"] == "assistant" and RATE_LIMITS.match(each["content"])), None
    )
    return f"the service failed: {found['content'][:60]!r}" if found else ""


def _numbers(messages: Sequence[Turn]) -> str:
    return "a list begins twice with 1." if any(_WRONG_NUMBERS.search(each["content"]) for each in messages) else ""


def _digits(messages: Sequence[Turn]) -> str:
    return (
        "a digit stands more than 8 times in a row" if any(_SAME_DIGITS.search(m["content"]) for m in messages) else ""
    )


def _blocked(words: Sequence[str]) -> Callable[[Sequence[Turn]], str]:
    def why(messages: Sequence[Turn]) -> str:
        said = " ".join(each["content"].lower() for each in messages)
        found = next((word for word in words if word.lower() in said), None)
        return f"it says {found!r}" if found else ""

    return why


def _language(keep: Sequence[str], skip: Sequence[str]) -> Callable[[Sequence[Turn]], str]:
    def why(messages: Sequence[Turn]) -> str:
        from stillroom.evals.verifiers.languages import detect

        found = detect("\n".join(each["content"] for each in messages)) or "unknown"
        return f"it is written in {found}" if (keep and found not in keep) or found in skip else ""

    return why


def conversation_rules(
    blocked: Sequence[str], keep: Sequence[str], skip: Sequence[str], same_digits: bool
) -> tuple[Rule, ...]:
    """The rules in their order, as gates that look at `messages`.

    Args:
        blocked: Words that no turn may have, whatever their case.
        keep: Languages (ISO 639-1) that are kept; all where empty.
        skip: Languages that are not.
        same_digits: Whether more than eight equal digits in a row are refused: it also refuses account numbers.
    """
    found: list[tuple[str, Callable[[Sequence[Turn]], str]]] = [
        ("two turns", _short),
        ("roles in turns", _roles),
        ("no empty turn", _empty),
        ("16 characters", _few),
        ("no failure of the service", _limited),
        ("list numbers", _numbers),
    ]
    if blocked:
        found.append((f"words({', '.join(blocked)})", _blocked(blocked)))
    if keep or skip:
        found.append((f"language({','.join(keep) or 'any'} but {','.join(skip) or 'none'})", _language(keep, skip)))
    if same_digits:
        found.append(("no 9 equal digits", _digits))
    return tuple(Rule(name, _of(why)) for name, why in found)


def _of(why: Callable[[Sequence[Turn]], str]) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: why(row["messages"])


def pieces(messages: Sequence[Turn], most: int) -> list[list[Turn]]:
    """Cut a conversation between pairs of turns so that each piece has at most `most` tokens.

    Six tokens are counted for each turn beside its words. A single pair that is longer is left out. The system message
    stands before every piece, and counts.
    """
    system = [each for each in messages[:1] if each["role"] == "system"]
    said = _said(messages)
    base = sum(_length(each) for each in system)
    found: list[list[Turn]] = []
    held: list[Turn] = []
    for at in range(0, len(said) - 1, 2):
        pair = list(said[at : at + 2])
        if base + sum(map(_length, [*held, *pair])) > most and held:
            found.append([*system, *held])
            held = []
        if base + sum(map(_length, pair)) > most:
            continue
        held += pair
    return [*found, [*system, *held]] if held else found


def _length(turn: Turn) -> int:
    return tokens(turn["content"]) + 6
