"""Texts of models and data on their way into a report: everything visible, nothing endless, changes marked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

__all__ = ["shorten", "spoken", "visible", "word_changes"]

LONGEST_DIFF = 1500  # words of either text; above it the comparison takes too long

# C0 and C1 controls but tab and newline, lone surrogates and non-characters (none may stand in XML),
# bidirectional and other invisible marks; the two joiners stay, scripts and emoji need them
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Show every character that would act, or hide, instead of being seen.

    >>> visible("a\x00b\u202ec")
    'a␀b⟨U+202E⟩c'
    """
    return _UNSEEN.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # control pictures
    return f"⟨U+{code:04X}⟩"


def shorten(text: str, limit: int) -> str:
    """Cut `text` to `limit` characters and say how many are missing.

    >>> shorten("abcdef", 4)
    'abcd … (2 more characters)'
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def spoken(values: Any) -> str:
    r"""Spell a value for people: text as it is, one field as its value, more as a line `name: value` each.

    >>> spoken({"people": 4, "seating": None})
    'people: 4\nseating: null'
    """
    if isinstance(values, Mapping) and values:
        if len(values) == 1:
            return _plain(next(iter(values.values())))
        return "\n".join(f"{name}: {_plain(value)}" for name, value in values.items())
    return _plain(values)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def word_changes(old: str, new: str) -> list[tuple[str, str]]:
    """Tell `new` from `old` word by word.

    Returns:
        (`same`, `gone` or `new`, text) pieces in reading order. Texts with little in common, or
        of more than 1,500 words, come as one `gone` and one `new` piece.
    """
    before, after = (re.findall(r"\S+\s*|\s+", text) for text in (old, new))
    if old == new:
        return [("same", new)]
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if max(len(before), len(after)) > LONGEST_DIFF or matcher.ratio() < 0.35:
        return [(kind, text) for kind, text in (("gone", old), ("new", new)) if text]
    pieces = []
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation == "equal":
            pieces.append(("same", "".join(after[c:d])))
            continue
        pieces += [(kind, "".join(part)) for kind, part in (("gone", before[a:b]), ("new", after[c:d])) if part]
    return pieces
