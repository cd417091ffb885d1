"""A method: how the rows of a family of published systems are made; what tells the systems apart are its parameters.

A method is a function `(sources, models, params, seed) -> flow`. Everything that asks a model is a
declared `Call` of a typed signature, so that it can be compiled; everything else is a function of its
arguments. A method file holds a frozen dataclass of parameters, a function that builds the flow, and
`METHOD`, which joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stillroom.programs.plan import Decoding

if TYPE_CHECKING:
    import dspy

    from stillroom.programs.flow import Flow
    from stillroom.programs.records import Cap

    from .job import Job

__all__ = ["Call", "Emit", "Given", "Method", "spelled"]

P = TypeVar("P")


def spelled(field: str) -> str:
    """A field of given rows, for people: of one that rows may lack that is said."""
    return f"{field[:-1]} (optional)" if field.endswith("?") else field


@dataclass(frozen=True)
class Given:
    """Rows that a method takes in.

    Attributes:
        about: What they are.
        fields: The fields each row must have, and what each is; one that rows may lack ends with "?".
        optional: Whether the method works without them.
    """

    about: str
    fields: Mapping[str, str]
    optional: bool = False

    @property
    def needed(self) -> list[str]:
        """The fields that no row may lack."""
        return [name for name in self.fields if not name.endswith("?")]

    @property
    def named(self) -> str:
        """All of the fields, for people.

        >>> Given("tasks", {"instruction": "what is asked", "input?": "and of what"}).named
        'instruction, input (optional)'
        """
        return ", ".join(spelled(name) for name in self.fields)


@dataclass(frozen=True)
class Call:
    """One thing that a method asks a model: a target of compiling.

    Attributes:
        signature: What is asked.
        role: Whose engine answers: "teacher", "judge", "student", ...; the teacher's where nobody has the role.
        decoding: As published.
        scored: Whether the one categorical output is scored by log-probability where the engine can.
        reasoning: Whether the model writes its reasoning first.
        instruction: In place of the signature's own.
        format: How it is asked and read (`stillroom.signatures.FORMATS`). Where none is named, a text that is all that
            is wanted is asked for bare and several texts in tags, since small models cannot quote them; all else as
            JSON.
    """

    signature: type[dspy.Signature]
    role: str = "teacher"
    decoding: Decoding = field(default_factory=Decoding)
    scored: bool = False
    reasoning: bool = False
    instruction: str = ""
    format: str = ""


@dataclass(frozen=True)
class Emit:
    """How records of one schema are made of the rows.

    Attributes:
        columns: For fields of the schema, the fields of the row they are made of, where these are called otherwise.
        field: The field of the row that holds the record's fields, as one mapping or a list of them; then no columns.
        rejects: Whether records are made of accepted and rejected rows together (`pref`, `unpaired`).
    """

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    field: str = ""
    rejects: bool = False


@dataclass(frozen=True)
class Method(Generic[P]):
    """A family of recipes.

    Attributes:
        name: Of its module.
        version: Of what it makes of the same arguments.
        params: A frozen dataclass; its defaults are those of the family, its docstring says what each is.
        given: Rows it takes in, by name.
        calls: What it asks, by name.
        flow: Builds the flow of a job, anew each time.
        emits: Record schemas it can give, the first by default.
        caps: Shares of rows of a kind over which nothing is exported, by the parameters.
    """

    name: str
    version: str
    params: type[P]
    given: Mapping[str, Given]
    calls: Mapping[str, Call]
    flow: Callable[[Job[P]], Flow]
    emits: Mapping[str, Emit]
    caps: Callable[[P], Sequence[Cap]] = lambda params: ()

    def __repr__(self) -> str:
        return f"<method {self.name}>"

    def settle(self, values: Mapping[str, Any]) -> P:
        """The parameters from plain values, as a preset or a command line gives them.

        Raises:
            BadConfig: Naming each value that is unknown or breaks its type, and the rule.
        """
        from pydantic import TypeAdapter, ValidationError

        from stillroom.errors import BadConfig, near

        known = set(self.params.__dataclass_fields__)  # type: ignore[attr-defined]
        unknown = sorted(values.keys() - known)
        if unknown:
            raise BadConfig(
                f"{self.name} has no parameter {unknown[0]!r}",
                mend=near(unknown[0], known, f"It has {', '.join(sorted(known)) or 'none'}."),
            )
        try:
            return TypeAdapter(self.params).validate_python(dict(values))
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}, got {each['input']!r}"
                for each in error.errors(include_url=False)
            ]
            raise BadConfig(f"parameters of {self.name} must have their types: {'; '.join(problems)}") from None
