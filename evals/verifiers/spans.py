"""Spans of text with labels, as entity recognition scores them: F1 of one row, by exact or overlapping match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import plain
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown
from .labels import f1

__all__ = ["Span", "bio_f1", "bio_spans", "span_f1"]

Matching = Literal["exact", "overlap"]


@dataclass(frozen=True, order=True)
class Span:
    """A labelled stretch from `start` up to, not including, `end`; or `text` where places are not known."""

    label: str
    start: int = -1
    end: int = -1
    text: str = ""


def span_f1(name: str, *, matching: Matching = "exact") -> Verifier:
    """Score the spans in output `name` by F1 against the gold spans, over all labels of the row.

    A span is `{"start": 3, "end": 8, "label": "city"}`, `[3, 8, "city"]`, or
    `{"text": "Paris", "label": "city"}` where places are not asked for; texts are
    compared after folding. Gold and answer must be of the same kind. Two empty lists
    agree in full. Repeated spans with places count once, repeated texts as often as they stand there.

    Args:
        name: The output field, a list of spans.
        matching: `exact` wants the same ends and label; `overlap` the same label and one
            place (or word) in common, each span matched at most once.

    Raises:
        BadConfig: If `matching` is neither.

    >>> gold = {"who": [[0, 3, "person"], [10, 15, "city"]]}
    >>> span_f1("who")(gold, {"who": [[0, 3, "person"]]})
    Verdict(score=0.6666666666666666, why='who misses city 10-15')
    """
    _check(name, matching)

    def check(expected: Row, outputs: Row) -> Verdict:
        gold, got = _spans(expected.get(name)), _spans(outputs.get(name))
        if gold is None:
            return Verdict.unverified(f"gold {name} is no list of spans: {shown(expected.get(name))}")
        if got is None:
            return Verdict.fail(f"{name} is no list of spans: {shown(outputs.get(name))}")
        return _score(name, gold, got, matching)

    return Verifier(f"span_f1({name}, {matching})", check)


def bio_f1(name: str, *, matching: Matching = "exact") -> Verifier:
    """Score a list of BIO tags, one a token, by F1 of the spans they mark.

    A different number of tags than gold has fails in full: the tokens do not line up.
    """
    _check(name, matching)

    def check(expected: Row, outputs: Row) -> Verdict:
        gold, got = _tags(expected.get(name)), _tags(outputs.get(name))
        if gold is None:
            return Verdict.unverified(f"gold {name} is no list of BIO tags: {shown(expected.get(name))}")
        if got is None:
            return Verdict.fail(f"{name} is no list of BIO tags: {shown(outputs.get(name))}")
        if len(gold) != len(got):
            return Verdict.fail(f"{name} has {len(got)} tags, not {len(gold)}")
        return _score(name, bio_spans(gold), bio_spans(got), matching)

    return Verifier(f"bio_f1({name}, {matching})", check)


def bio_spans(tags: Sequence[str]) -> list[Span]:
    """Read the spans that BIO tags mark, as conlleval does: an I- that continues nothing begins a span.

    >>> bio_spans(["B-city", "I-city", "O", "I-time"])
    [Span(label='city', start=0, end=2, text=''), Span(label='time', start=3, end=4, text='')]
    """
    spans: list[Span] = []
    for at, tag in enumerate(tags):
        kind, _, label = tag.partition("-")
        last = spans[-1] if spans else None
        if kind == "I" and last and last.end == at and last.label == label:
            spans[-1] = Span(label, last.start, at + 1)
        elif kind in ("B", "I"):
            spans.append(Span(label, at, at + 1))
    return spans


def _score(name: str, gold: list[Span], got: list[Span], matching: Matching) -> Verdict:
    pairs = _pairs(gold, got, matching)
    hit, used = {i for i, _ in pairs}, {j for _, j in pairs}
    why = [f"{name} misses {_named(span)}" for i, span in enumerate(gold) if i not in hit]
    why += [f"{name} adds {_named(span)}" for j, span in enumerate(got) if j not in used]
    return Verdict(f1(pairs, gold, got), "; ".join(why[:10]))


def _pairs(gold: list[Span], got: list[Span], matching: Matching) -> list[tuple[int, int]]:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    if not gold or not got:
        return []
    fits = np.array([[_fits(one, other, matching) for other in got] for one in gold])
    rows, columns = linear_sum_assignment(fits, maximize=True)  # the most pairs, each span in at most one
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if fits[i, j]]


def _fits(one: Span, other: Span, matching: Matching) -> bool:
    if matching == "exact" or one.label != other.label:
        return one == other
    if one.text or other.text:
        return bool(set(one.text.split()) & set(other.text.split()))
    return max(one.start, other.start) < min(one.end, other.end)


def _spans(value: Any) -> list[Span] | None:
    if not isinstance(value, list | tuple) or len(value) > 1000:
        return None
    spans = [_span(item) for item in value]
    if None in spans:
        return None
    found = [span for span in spans if span]
    return [span for at, span in enumerate(found) if span.text or span not in found[:at]]


def _span(item: Any) -> Span | None:
    if isinstance(item, list | tuple) and len(item) == 3:
        item = dict(zip(("start", "end", "label"), item, strict=True))
    if not isinstance(item, Mapping) or not isinstance(item.get("label"), str):
        return None
    start, end, text = item.get("start"), item.get("end"), item.get("text")
    if type(start) is int and type(end) is int and 0 <= start < end:
        return Span(item["label"], start, end)
    return Span(item["label"], text=plain(text)) if isinstance(text, str) and plain(text) else None


def _tags(value: Any) -> list[str] | None:
    if not isinstance(value, list | tuple):
        return None
    right = all(isinstance(tag, str) and (tag == "O" or tag[:2] in ("B-", "I-")) for tag in value)
    return list(value) if right else None


def _named(span: Span) -> str:
    return f"{span.label} {shown(span.text) if span.text else f'{span.start}-{span.end}'}"


def _check(name: str, matching: str) -> None:
    check_names("span_f1", (name,))
    if matching not in ("exact", "overlap"):
        raise BadConfig(f"matching must be 'exact' or 'overlap', got {matching!r}")
