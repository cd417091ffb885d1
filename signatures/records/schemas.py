"""The record schemas: what rows are handed on as, each a frozen value that was checked when it was made.

Field names are those of TRL's dataset formats where it has one (docs: dataset_formats).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from stillroom.errors import BadConfig, BadData
from stillroom.values import digest

from .fields import Answer, Message, Name, Plain, Prompt, Score, Share, Text, ToolMessage, Whole, function_name
from .meta import Meta

__all__ = [
    "SCHEMAS",
    "Attr",
    "Audit",
    "Chat",
    "Critique",
    "Label",
    "Pref",
    "Rank",
    "Record",
    "Response",
    "Sft",
    "Steps",
    "TextRecord",
    "Tool",
    "Unpaired",
    "Verifiable",
    "schema",
]


class Record(BaseModel):
    """One row for a trainer, with its papers."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    schema_id: ClassVar[str]
    meta: Meta

    @classmethod
    def make(cls, fields: Mapping[str, Any], meta: Meta | Any, *, of: str = "") -> Self:
        """Check `fields` and make the record of them; fields that are None are left out.

        Args:
            fields: Without `meta`.
            meta: Its papers, or what `Meta.as_json` made of them; the id is computed here.
            of: What the record is made of, for the error.

        Raises:
            BadData: With every rule that the fields break, and the values that break them.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            made = cls.model_validate({**given, "meta": meta})
        except ValidationError as error:
            problems = [_problem(each) for each in error.errors(include_url=False)]
            rules = "rule" if len(problems) == 1 else "rules"
            broken = f"{of or 'a row'} must be a record of schema {cls.schema_id!r}, got {len(problems)} broken {rules}"
            raise BadData(broken, problems, mend=f"Fields of {cls.schema_id!r}: {', '.join(cls.names())}.") from None
        object.__setattr__(made, "meta", replace(made.meta, id=digest([cls.schema_id, made.fields()])))
        return made

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The fields of the schema, without `meta`."""
        return tuple(name for name in cls.model_fields if name != "meta")

    def fields(self) -> dict[str, Any]:
        """The record's fields as plain JSON values, without `meta` and without those that are None."""
        return {name: _plain(value) for name in self.names() if (value := getattr(self, name)) is not None}

    def as_json(self) -> dict[str, Any]:
        """The record as a plain JSON value, papers under `meta`."""
        return {**self.fields(), "meta": self.meta.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, of: str = "") -> Self:
        """Read back what `as_json` wrote.

        Raises:
            BadData: If it is no such record, or has no papers.
        """
        return cls.make({name: each for name, each in value.items() if name != "meta"}, value.get("meta"), of=of)


class Sft(Record):
    """Prompt and completion, to be imitated."""

    schema_id: ClassVar[str] = "sft"
    prompt: Prompt
    completion: Answer


class Chat(Record):
    """A whole conversation, to be imitated."""

    schema_id: ClassVar[str] = "chat"
    messages: tuple[Message, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _is_a_conversation(self) -> Self:
        if any(each.role == "system" for each in self.messages[1:]):
            raise ValueError("messages: a system message must be the first one")
        if self.messages[-1].role != "assistant":
            raise ValueError(f"messages: must end with the assistant's turn, not the {self.messages[-1].role}'s")
        return self


class Pref(Record):
    """Two answers, one better. `p_chosen` (0..1) is how sure that is, scores are those it was found by."""

    schema_id: ClassVar[str] = "pref"
    prompt: Prompt
    chosen: Answer
    rejected: Answer
    p_chosen: Share | None = None
    score_chosen: Score | None = None
    score_rejected: Score | None = None

    @model_validator(mode="after")
    def _prefers(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected must differ")
        better, worse = self.score_chosen, self.score_rejected
        if better is not None and worse is not None and better < worse:
            raise ValueError(f"chosen must not score below rejected, got {better} and {worse}")
        return self


class Response(BaseModel):
    """One of several answers: who gave it, and what it scored where it was scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    completion: Answer
    model: str = ""
    score: Score | None = None


class Rank(Record):
    """Several answers, best first."""

    schema_id: ClassVar[str] = "rank"
    prompt: Prompt
    responses: tuple[Response, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _is_ranked(self) -> Self:
        if len({each.completion for each in self.responses}) < len(self.responses):
            raise ValueError("responses must differ from each other")
        scores = [each.score for each in self.responses if each.score is not None]
        if scores != sorted(scores, reverse=True):
            raise ValueError(f"responses must stand best first, got the scores {scores}")
        return self


class Unpaired(Record):
    """One answer, wanted or not."""

    schema_id: ClassVar[str] = "unpaired"
    prompt: Prompt
    completion: Answer
    label: StrictBool


class Steps(Record):
    """A solution in steps, each right or wrong. Plain texts: what trains on steps knows no messages."""

    schema_id: ClassVar[str] = "steps"
    prompt: Text
    completions: tuple[Text, ...] = Field(min_length=1)
    labels: tuple[StrictBool, ...]

    @model_validator(mode="after")
    def _is_labelled(self) -> Self:
        if len(self.completions) != len(self.labels):
            raise ValueError(f"each step needs a label, got {len(self.completions)} and {len(self.labels)}")
        return self


class Critique(Record):
    """What somebody said of an answer under a rubric, and the score they gave."""

    schema_id: ClassVar[str] = "critique"
    instruction: Text
    response: Text
    rubric: Text
    feedback: Text
    score: Whole
    reference: Text | None = None
    revision: Text | None = None


class Attr(Record):
    """An answer with what it was found to be, in whole numbers by name."""

    schema_id: ClassVar[str] = "attr"
    prompt: Prompt
    response: Answer
    attributes: dict[Text, Whole] = Field(min_length=1)


class Tool(Record):
    """A conversation in which tools are called."""

    schema_id: ClassVar[str] = "tool"
    messages: tuple[ToolMessage, ...] = Field(min_length=2)
    tools: tuple[Plain, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _calls_what_it_has(self) -> Self:
        known = {function_name(each) for each in self.tools}
        called = {function_name(call) for each in self.messages for call in each.tool_calls or ()}
        if called - known:
            raise ValueError(f"a call must name one of the tools {sorted(known)}, got {sorted(called - known)}")
        awaited = False
        for each in self.messages:
            if each.role == "tool" and not awaited:
                raise ValueError("a message of role 'tool' must follow a call")
            awaited = bool(each.tool_calls) or (awaited and each.role == "tool")
        return self


class TextRecord(Record):
    """Plain text, to be continued."""

    schema_id: ClassVar[str] = "text"
    text: Text


class Label(Record):
    """A text and its class; `probs` are those of all classes in the order of their names, where a teacher gave them."""

    schema_id: ClassVar[str] = "label"
    text: Text
    label: Name
    probs: tuple[Share, ...] | None = Field(None, min_length=2)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.probs is not None and abs(sum(self.probs) - 1) > 1e-3:
            raise ValueError(f"probs must add up to 1, got {sum(self.probs)}")
        return self


class Verifiable(Record):
    """A prompt with what its answers can be checked by: a solution, or tests."""

    schema_id: ClassVar[str] = "verifiable"
    prompt: Prompt
    solution: Text | None = None
    tests: tuple[Text, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _can_be_checked(self) -> Self:
        if self.solution is None and self.tests is None:
            raise ValueError("needs a solution or tests, got neither")
        return self


class Audit(Record):
    """A row for a person to look at, accepted or not: as it was emitted, with its fate and why."""

    schema_id: ClassVar[str] = "audit"
    values: Plain
    status: Text
    gate: str = ""
    why: str = ""


_ALL: tuple[type[Record], ...] = (
    Sft, Chat, Pref, Rank, Unpaired, Steps, Critique, Attr, Tool, TextRecord, Label, Verifiable, Audit,
)  # fmt: skip
SCHEMAS: dict[str, type[Record]] = {each.schema_id: each for each in _ALL}


def schema(name: str) -> type[Record]:
    """The schema of that id. Raises BadConfig if there is none."""
    if name not in SCHEMAS:
        raise BadConfig(f"a schema must be one of {', '.join(SCHEMAS)}, got {name!r}")
    return SCHEMAS[name]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(each) for name, each in value if each is not None}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _problem(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    said = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # whole records are too long to show: their rules name what they were broken by
    got = "" if isinstance(error["input"], Mapping) and "meta" in error["input"] else f", got {_short(error['input'])}"
    return f"{where}: {said}{got}" if where else f"{said}{got}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
