"""IFEval: did a response follow the instructions that came with its prompt, strictly and loosely?

Zhou et al. 2023, arXiv 2311.07911. Strict judges the response as it is; loose
counts an instruction as followed if any of eight readings of the response follows
it: with and without the first line, the last line, and asterisks (section 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, of_text, shown
from .instructions import Check, instruction_check

__all__ = ["followed", "ifeval", "instruction"]

_LONGEST = 200_000


def instruction(name: str, kind: str, *, loose: bool = False, **arguments: Any) -> Verifier:
    """Check that output `name` follows one instruction, the same for every row.

    Args:
        name: The output field.
        kind: One of the 25 types, such as `length_constraints:number_words`.
        loose: Judge as IFEval's loose score does.
        arguments: As the type takes them, such as `num_words=100, relation="at least"`.

    Raises:
        BadConfig: If there is no such type, or its arguments are others.

    >>> instruction("reply", "punctuation:no_comma")({}, {"reply": "Well, no."}).why
    'reply breaks punctuation:no_comma'
    """
    check_names("instruction", (name,))
    check = instruction_check(kind, arguments)

    def verify(text: str) -> Verdict:
        found = followed(text, [check], loose=loose)[0]
        if found is None:
            return Verdict.unverified(f"{kind} took too long to check")
        return Verdict.ok() if found else Verdict.fail(f"{name} breaks {kind}")

    settings = ", ".join(f"{key}={value!r}" for key, value in sorted(arguments.items()))
    return of_text(f"instruction({name}, {kind}({settings}){', loose' if loose else ''})", name, verify)


def ifeval(
    response: str = "response",
    *,
    ids: str = "instruction_id_list",
    arguments: str = "kwargs",
    level: Literal["prompt", "instruction"] = "prompt",
    loose: bool = False,
) -> Verifier:
    """Check output `response` against the instructions listed in the row, as IFEval does.

    Args:
        response: The output field.
        ids: The row's field with the instruction types.
        arguments: The row's field with their arguments, one mapping each.
        level: `prompt` gives 1.0 only if all are followed; `instruction` their share.
        loose: Take the best of eight readings of the response.

    Raises:
        BadConfig: If `level` is neither.

    A row whose instructions cannot be read is unverified.

    >>> row = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    >>> ifeval(level="instruction")(row, {"response": "No commas here."})
    Verdict(score=0.5, why='breaks startend:quotation')
    """
    check_names("ifeval", (response, ids, arguments))
    if level not in ("prompt", "instruction"):
        raise BadConfig(f"level must be 'prompt' or 'instruction', got {level!r}")

    def verify(expected: Row, outputs: Row) -> Verdict:
        try:
            kinds, checks = _checks(expected.get(ids), expected.get(arguments))
        except BadConfig as error:
            return Verdict.unverified(str(error))
        text = outputs.get(response)
        if not isinstance(text, str):
            return Verdict.fail(f"{response} is not text: {shown(text)}")
        found = followed(text, checks, loose=loose)
        broken = [kind for kind, held in zip(kinds, found, strict=True) if held is False]
        open_ = [kind for kind, held in zip(kinds, found, strict=True) if held is None]
        if open_ and not (broken and level == "prompt"):
            return Verdict.unverified(f"took too long to check {', '.join(open_)}")
        if not broken:
            return Verdict.ok()
        share = 0.0 if level == "prompt" else 1 - len(broken) / len(kinds)
        return Verdict(share, f"breaks {', '.join(dict.fromkeys(broken))}")

    return Verifier(f"ifeval({response}, {ids}, {arguments}, {level}, {'loose' if loose else 'strict'})", verify)


def followed(text: str, checks: Sequence[Check], *, loose: bool = False) -> list[bool | None]:
    """Say of each check whether `text` follows it; None where that would take too long.

    An empty response follows nothing. Texts over 200,000 characters are not judged.
    """
    if len(text) > _LONGEST:
        return [None] * len(checks)
    readings = [reading for reading in (_readings(text) if loose else [text]) if reading.strip()]
    return [_any_follows(check, readings) for check in checks]


def _any_follows(check: Check, readings: Sequence[str]) -> bool | None:
    late = False
    for reading in readings:
        try:
            if check(reading):
                return True
        except TimeoutError:
            late = True
    return None if late else False


def _readings(text: str) -> list[str]:
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    whole = [text, *cut]
    return list(dict.fromkeys([*whole, *(reading.replace("*", "") for reading in whole)]))


def _checks(kinds: Any, arguments: Any) -> tuple[list[str], list[Check]]:
    if not isinstance(kinds, list | tuple) or not isinstance(arguments, list | tuple) or not kinds:
        raise BadConfig(f"the row names no instructions: {shown(kinds)}")
    if len(kinds) != len(arguments) or not all(isinstance(given, Mapping | None) for given in arguments):
        raise BadConfig(f"{len(kinds)} instructions need one mapping of arguments each, got {shown(arguments)}")
    return list(kinds), [instruction_check(kind, given or {}) for kind, given in zip(kinds, arguments, strict=True)]
