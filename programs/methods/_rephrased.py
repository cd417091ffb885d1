"""What rephrased texts must be: without a word about the rephrasing, and with the names and numbers of their source."""

from __future__ import annotations

import re

__all__ = ["facts", "kept_facts", "stripped"]

_ABOUT = (
    r"(?:paraphras\w*|rephras\w*|rewrit\w*|reworded|simplif\w*|version|summary|conversation\w*|question-answer\w*|"
    r"Q\s?&\s?A|passage|paragraph|text|sentences?|response|translation)"
)
_LEAD = re.compile(
    r"\A\W{0,3}(?:"
    r"(?:(?:sure|certainly|of course|okay|ok|absolutely|great)\b[^\n:]{0,80}?[!.,:]\s*)?"
    rf"(?:here(?:'s|’s| is| are)|below (?:is|are)|this is|the following is)\b[^\n:]{{0,120}}?\b{_ABOUT}\b[^\n:]{{0,120}}:\s*"
    r"|(?:sure|certainly|of course|absolutely)[!.,]\s+(?=[A-Z\"“])"
    rf"|(?:the\s+)?(?:{_ABOUT}\s*){{1,3}}:\s*"
    r"|\*\*[^*\n]{0,60}\*\*:?\s*\n+"
    r")",
    re.IGNORECASE,
)
_TRAIL = re.compile(
    r"\n+\W{0,3}(?:i hope (?:this|that)|let me know if|feel free to|note: (?:i|this))[^\n]*\Z", re.IGNORECASE
)
_QUOTES = (('"', '"'), ("“", "”"), ("```", "```"))
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?:\n]\s)(?<!\A)(?<![.!?:]\s[\"“])\b[A-Z][\w'’-]+\b")


def stripped(text: str) -> str:
    r"""The text without what its writer said about it before and after, and without quotation marks around the whole.

    >>> stripped("Sure! Here is a paraphrase of the passage:\n\n\"The cat slept.\"")
    'The cat slept.'
    """
    found = text.strip()
    while True:
        before = found
        found = _TRAIL.sub("", _LEAD.sub("", found, count=1)).strip()
        for start, end in _QUOTES:
            if len(found) > 2 * len(start) and found.startswith(start) and found.endswith(end):
                inner = found[len(start) : -len(end)]
                if start not in inner and end not in inner:
                    found = inner.strip()
        if found == before:
            return found


def facts(text: str) -> frozenset[str]:
    """Numbers, and words with a capital where no sentence begins."""
    numbers = {each.rstrip(".,:") for each in _NUMBER.findall(text)}
    names = {each.removesuffix("'s").removesuffix("’s") for each in _NAME.findall(text)}
    return frozenset(numbers | {name for name in names if name != "I"})


def kept_facts(source: str, text: str) -> float:
    """The share of the source's numbers and names that stand in the text, 0..1; 1 where the source has none."""
    known = facts(source)
    said = text.lower()
    there = sum(bool(re.search(rf"(?<!\w){re.escape(each.lower())}(?!\d)", said)) for each in known)
    return there / len(known) if known else 1.0
