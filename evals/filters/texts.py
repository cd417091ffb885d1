"""A check of one text, as a gate for candidates and as a verifier for answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stillroom.errors import BadConfig
from stillroom.evals.gates import Candidate
from stillroom.evals.verdict import Row, Verdict, Verifier
from stillroom.rows import By, Status

__all__ = ["TextGate", "flat", "texts_in"]


def texts_in(values: Mapping[str, Any], fields: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Every text in `values` as (field, text), those of `fields` or all; lists and mappings are looked into.

    Numbers come as they are written, since a phone number may be one. None and
    booleans are no text.
    """
    for name in fields or values:
        for text in flat(values.get(name)):
            yield name, text


def flat(value: Any) -> Iterator[str]:
    """The texts in a JSON value, keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(key)
            yield from flat(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from flat(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


@dataclass(frozen=True)
class TextGate:
    """A gate that asks `test` about every text of a row and gives the worst verdict.

    A row that did not parse is read as the text the model wrote. Nothing to read is
    a failure with that reason; what `test` cannot decide stays unverified unless
    another text of the row fails.

    Attributes:
        name: As funnels and passports name it; states every setting.
        test: From one text to a verdict. Must not raise on any text.
        fields: What to read; all fields, prompt and response alike, where empty.
        on_fail: What a row becomes that does not pass.
    """

    name: str
    test: Callable[[str], Verdict]
    fields: tuple[str, ...] = ()
    on_fail: Status = "rejected"
    by: ClassVar[By] = "form"

    def __post_init__(self) -> None:
        if self.on_fail not in ("rejected", "audit"):
            raise BadConfig(f"on_fail must be 'rejected' or 'audit', got {self.on_fail!r}")
        if self.fields:
            object.__setattr__(self, "name", f"{self.name}@{','.join(self.fields)}")

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        return [self._values(each.values or {"text": each.text}, bool(each.values)) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def verifier(self) -> Verifier:
        """The same check of a program's outputs. Needs no gold."""

        def check(expected: Row, outputs: Row) -> Verdict:
            return self._values(outputs, True)

        return Verifier(self.name, check)

    def _values(self, values: Mapping[str, Any], parsed: bool) -> Verdict:
        found = list(texts_in(values, self.fields if parsed else ()))
        if not any(text.strip() for _, text in found):
            return Verdict.fail(f"there is no text in {', '.join(self.fields) or 'the row'}")
        verdicts = [(name, self.test(text)) for name, text in found if text.strip()]
        failed = [(name, each) for name, each in verdicts if each.score is not None and each.score < 1]
        if failed:
            why = "; ".join(dict.fromkeys(f"{name}: {each.why}" for name, each in failed))
            return Verdict(min(each.score for _, each in failed if each.score is not None), why)
        unsure = dict.fromkeys(f"{name}: {each.why}" for name, each in verdicts if not each.verified)
        return Verdict.unverified("; ".join(unsure)) if unsure else Verdict.ok()
