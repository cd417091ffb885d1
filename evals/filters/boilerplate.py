"""Boilerplate: what models write around, instead of, or after the text that was asked for.

Rules find a phrase that has no place in a row, and name it with where it stands.
They are for English; each is a pattern with a name, and a row may be kept by
leaving rules out. Rates on real text: docs/data-quality.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import words
from stillroom.evals.gates import Candidate
from stillroom.evals.stats import wilson
from stillroom.evals.verdict import Row, Verdict, Verifier
from stillroom.rows import By, Status
from stillroom.values import digest

from .texts import TextGate, flat

__all__ = ["RULES", "Echo", "boilerplate", "echoes", "refusal", "refusal_rise", "refuses"]

_SHOWN = 60


def _pattern(*parts: str, flags: re.RegexFlag = re.IGNORECASE) -> Callable[[str], str]:
    pattern = re.compile("|".join(parts), flags)

    def find(text: str) -> str:
        match = pattern.search(text)
        return "" if match is None else match.group().strip()[:_SHOWN]

    return find


# said of oneself only by a model
_SELF = _pattern(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|virtual assistant)\b",
    r"\bI(?:'m| am) (?:just |only |merely )?an? (?:ai|artificial intelligence|large language|language model|chat ?bot)\b",
    r"\bmy (?:knowledge|training) (?:cut-?off|data)\b|\bas of my last (?:update|training)\b",
    r"\b(?:trained|developed|created) by (?:openai|anthropic|alibaba cloud|google deepmind)\b",
    r"\bI am Qwen\b|\bI'm Claude\b|\bI am ChatGPT\b",
)
_APOLOGY = r"(?:(?:I(?:'m| am) )?(?:really |very |so |truly )?sorry|(?:I )?apologi[sz]e|unfortunately|regrettably)"
_CANNOT = (
    r"I(?: (?:can ?not|am (?:unable|not able|not allowed|not permitted) to|must (?:decline|refuse)|won't|will not|do not"
    r" feel comfortable|am not comfortable)|'m (?:unable|not able|not allowed|not comfortable)(?: to)?| can't|"
    r" don't feel comfortable)"
)
_HELP = (
    r"(?:\w+ ){0,2}(?:help|assist|provide|fulfil|comply|generate|create|answer|discuss|engage|offer|produce|participate"
    r"|recommend|condone|do that)\b(?! thinking)(?![\w ]{0,20}\b(?:my|me)\b)"
)
# a refusal opens the answer, so a customer who "can't access my account" is none
_REFUSAL = _pattern(
    rf"\A\W*(?:{_APOLOGY}[,.!]?\s+(?:but |however,? )?)(?:but )?{_CANNOT} {_HELP}",
    rf"\A\W*(?:{_APOLOGY}[,.!]?\s+(?:but )?)?(?:as an? (?:ai|language model|assistant)[\w ]*, )?"
    r"I (?:cannot|can't|can not|won't|will not) (?:\w+ )?(?:help|assist|provide|fulfil|comply|generate|engage|condone)"
    r"(?! my\b)[\w ,]{0,40}\b(?:with (?:that|this|your)|request|content|information|instructions|advice|any|illegal|harmful|you)",
    r"\bI (?:must|have to) (?:respectfully )?(?:decline|refuse)\b|\bit (?:would be|is) (?:inappropriate|unethical) for me to\b",
    r"\b(?:goes|is) against my (?:programming|guidelines|policies|principles)\b|\bviolates? (?:our|my) (?:content )?polic",
)
_PLACEHOLDER = _pattern(
    r"\[(?:insert|your|enter|add|customer|user|company|first|last|full|client|recipient|sender|agent|product|phone|date"
    r"|time|name|city|country|address|number|amount|email|e-mail|title|position|placeholder|fill in|specific)"
    r"[^\]\n]{0,40}\](?!\()",
    r"<(?:insert|your|enter)[ _-][^>\n]{1,40}>|\{\{\s*\w+\s*\}\}|\$\{\w+\}",
    r"\b(?:TODO|TBD|FIXME|XXX):|\binsert (?:your )?(?:name|text|date|company|answer) here\b",
    r"\bx{4,}\b|\bfoo ?bar\b",
)
_LOREM = _pattern(r"\blorem ipsum\b|\bdolor sit amet\b|\bconsectetur adipiscing\b")
_TEMPLATE = _pattern(
    r"<\|[\w ]{2,30}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|\[\[ ## \w+ ## \]\]",
    r"^#{2,3} (?:instruction|response|input|output|human|assistant)s?\b:?",
    r"^(?:human|assistant|user|system|ai)\s?: ",
    r"</?(?:think|answer|output|response)>",
    flags=re.IGNORECASE | re.MULTILINE,
)
_PREAMBLE = _pattern(
    r"\A\W*(?:sure|certainly|of course|absolutely|great question|okay|ok)[,!.:]*\s+(?:here(?:'s| is| are)|I (?:can|will|'d)|I'll|let me)\b",
    r"\A\W*here(?:'s| is| are) (?:a|an|the|your|some|my|one|\d+)\b[^\n]{0,100}:\s*(?:\n|\Z)",
    r"\bI hope (?:this|that) helps\b|\blet me know if you (?:have|need|want|would)\b",
    r"\bfeel free to (?:ask|reach out|let me know)\b|\bis there anything else I can\b",
)
_MARKDOWN = _pattern(
    r"\A\s*```[\w+-]*\s*\n(?:(?!```)[\s\S])*\n?```\s*\Z",  # the whole text is one fence
    r"^\s*\*\*[^*\n]{1,40}:?\*\*:?\s*$|\A#{1,6} \S[^\n]*$|\*\*\*\*|^\s*(?:---|\*\*\*|___)\s*$",
    r"^\s*\|(?:\s*:?-{3,}:?\s*\|)+\s*$|!\[[^\]\n]*\]\([^)\n]*\)|&(?:nbsp|amp|lt|gt|quot);",
    flags=re.MULTILINE,
)
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
# what no sentence ends with; "is", "that" or "from" end questions of the less careful
_HANGING = frozenset(("a", "an", "the", "of", "and", "or", "but", "because", "than", "my", "your", "their", "our"))


def _links(text: str) -> str:
    left = _URL.sub(" ", text)
    return text.strip()[:_SHOWN] if left != text and not words(left) else ""


def _cut(text: str) -> str:
    """Where a text stops in mid-sentence: at a word or sign after which something must come, or inside a fence."""
    end = text.rstrip()
    if end.count("```") % 2:
        return "a code fence is never closed"
    last = end[-1:]
    tail = f"it ends in ...{end[-20:]!r}"
    if (last in ",([{" and end[-2:-1] not in ":;-=") or (last in "-–—" and len(end) > 1 and end[-2:-1].isspace()):
        return tail
    bare = words(end)
    if len(bare) >= 5 and end.split()[-1] in _HANGING:
        return tail
    # long prose without a last full stop; a prompt or a title may do without one
    if len(bare) >= 60 and last.isalnum() and len(re.findall(r"[.!?](?:\s|$)", end)) >= 2 and "\n" not in end[-80:]:
        return tail
    return ""


RULES: dict[str, Callable[[str], str]] = {
    "self-identification": _SELF,
    "refusal": _REFUSAL,
    "placeholder": _PLACEHOLDER,
    "lorem ipsum": _LOREM,
    "chat template": _TEMPLATE,
    "assistant's preamble": _PREAMBLE,
    "markdown": _MARKDOWN,
    "links only": _links,
    "truncated": _cut,
}


def boilerplate(
    *fields: str, rules: Sequence[str] | None = None, without: Sequence[str] = (), on_fail: Status = "rejected"
) -> TextGate:
    """Fail texts with traces of the machine that wrote them: every rule of `RULES`, or those named.

    Args:
        *fields: What to read; all fields where none is named.
        rules: Which rules to ask; all of them where not given.
        without: Rules to leave out, such as "markdown" where answers are meant to have it.
        on_fail: What a row becomes that fails.

    Raises:
        BadConfig: If a rule does not exist, or none is left.

    >>> boilerplate().verifier()({}, {"a": "Dear [insert name], your card is on its way."}).why
    "a: placeholder '[insert name]'"
    """
    wanted = list(RULES) if rules is None else list(rules)
    unknown = [rule for rule in [*wanted, *without] if rule not in RULES]
    asked = [rule for rule in wanted if rule not in without]
    if unknown or not asked:
        raise BadConfig(
            f"boilerplate needs rules out of {', '.join(RULES)}; got {', '.join(map(repr, unknown)) or 'none'}"
        )

    def test(text: str) -> Verdict:
        found = {rule: RULES[rule](text) for rule in asked}
        why = "; ".join(f"{rule} {what!r}" for rule, what in found.items() if what)
        return Verdict.fail(why) if why else Verdict.ok()

    label = "all" if asked == list(RULES) else ", ".join(asked)
    return TextGate(f"boilerplate({label})", test, tuple(fields), on_fail)


def refusal(*fields: str, on_fail: Status = "rejected") -> TextGate:
    """Fail answers that decline to answer."""
    return TextGate("refusal", refuses, tuple(fields), on_fail)


def refuses(text: str) -> Verdict:
    """Fail a text that declines what was asked. Polite words of a customer are no refusal.

    >>> refuses("I'm sorry, but I can't help with that request.").why
    "refusal 'I'm sorry, but I can't help'"
    """
    found = _REFUSAL(text)
    return Verdict.fail(f"refusal {found!r}".replace('"', "'")) if found else Verdict.ok()


def refusal_rise(base: Sequence[str], now: Sequence[str], *, most: float = 0.02) -> Verdict:
    """Fail where answers to harmless prompts refuse more often than the base's did, by over `most` (0..1).

    Both hold one answer to each of the same prompts. Unverified without any.

    Raises:
        BadConfig: If the numbers of answers differ.
    """
    if len(base) != len(now):
        raise BadConfig(f"refusals are compared on the same prompts, got {len(base)} and {len(now)} answers")
    if not now:
        return Verdict.unverified("there are no answers to harmless prompts")
    before, after = (sum(not refuses(text).passed for text in texts) for texts in (base, now))
    if (after - before) / len(now) <= most + 1e-12:
        return Verdict.ok()
    return Verdict.fail(f"refusals rose from {wilson(before, len(base))} to {wilson(after, len(now))}")


def echoes(text: str, prompts: Sequence[str], *, run: int = 12) -> Verdict:
    """Fail a text that repeats `run` words in a row of a prompt, or the whole of one of 4 words and more."""
    mine = words(text)
    for prompt in prompts:
        theirs = words(prompt)
        size = min(run, len(theirs))
        if size < min(run, 4) or len(mine) < size:
            continue
        grams = {tuple(theirs[i : i + size]) for i in range(len(theirs) - size + 1)}
        hit = next((i for i in range(len(mine) - size + 1) if tuple(mine[i : i + size]) in grams), None)
        if hit is not None:
            return Verdict.fail(f"it repeats the prompt: {' '.join(mine[hit : hit + size])[:_SHOWN]!r}")
    return Verdict.ok()


@dataclass(frozen=True)
class Echo:
    """The answer does not repeat its prompt: neither fixed `texts` nor the row's own `prompts` fields.

    Attributes:
        answers: Fields that must not repeat.
        prompts: Fields of the same row that must not be repeated.
        texts: Instructions that the writer was shown, such as a plan's.
        run: How many words in a row are a repetition.
    """

    answers: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    run: int = 12
    on_fail: Status = "rejected"
    by: ClassVar[By] = "form"

    def __post_init__(self) -> None:
        if not self.answers or not (self.prompts or self.texts) or self.run < 1:
            raise BadConfig(
                f"an echo needs answers, prompts or texts, and run >= 1, got {self.answers!r}, {self.prompts!r}, {self.run}"
            )

    @property
    def name(self) -> str:
        """With every setting; texts by their digest."""
        shown = f", {digest(list(self.texts), 8)}" if self.texts else ""
        return f"echo({','.join(self.answers)} of {','.join(self.prompts)}{shown}, {self.run})"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        return [self._one(each.values, each.values) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def verifier(self) -> Verifier:
        """The same check, with the prompts taken from the row and the answers from the outputs."""
        return Verifier(self.name, self._one)

    def _one(self, expected: Row, outputs: Row) -> Verdict:
        answer = " ".join(text for name in self.answers for text in flat(outputs.get(name)))
        if not answer.strip():
            return Verdict.fail(f"there is no text in {', '.join(self.answers)}")
        prompts = [" ".join(flat(expected.get(name))) for name in self.prompts]
        return echoes(answer, [*prompts, *self.texts], run=self.run)
