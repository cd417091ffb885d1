"""Confirm a row of a symbolic recipe: its theorem, each step of its proof, and what was made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stillroom.evals.verdict import Row, Verdict, Verifier

from .geometry import Geometry
from .horn import Horn
from .linear import Linear
from .meaning import Meaning
from .reading import Line, Proof, Unreadable, read_given, read_lines, read_proof

__all__ = ["confirmed"]

_MEANINGS: Mapping[str, tuple[str, Callable[[], Meaning]]] = {
    "horn": ("Horn clauses", Horn),
    "geometry": ("Plane geometry, named points distinct", Geometry),
    "linear": ("Linear equations", Linear),
}


def confirmed() -> Verifier:
    """Confirm rows with `domain`, `depth`, `text`, `steps`, `corrupted` and `verifiable`. The gold is not looked at.

    A row holds if

    - the text can be read, its title is the domain's, and its longest chain of steps is `depth`;
    - each step follows from the lines it cites, and from no fewer of them;
    - the last step is the goal, and every line before it is cited;
    - the goal follows from what is given alone, whatever is constructed, and no longer when any of it is left out;
    - a construction names something that the statement does not have;
    - `steps` are the lines of that proof, all labelled true;
    - `corrupted` are the first of those lines and one more, labelled false, that does not follow from what it cites;
    - the answer in `verifiable` is the answer to its question.

    >>> confirmed()({}, {"domain": "horn", "text": "Given: all is well"}).why
    "the text cannot be read: there is no line 'Proof:'"
    """
    return Verifier("confirmed by an independent checker", _check)


def _check(expected: Row, outputs: Row) -> Verdict:
    domain, text = outputs.get("domain"), outputs.get("text")
    if not isinstance(domain, str) or domain not in _MEANINGS or not isinstance(text, str):
        return Verdict.fail(f"a row needs a text and a domain of {sorted(_MEANINGS)}")
    title, meaning = _MEANINGS[domain][0], _MEANINGS[domain][1]()
    try:
        proof = read_proof(text)
        if proof.title != title:
            return Verdict.fail(f"the title is not {title!r}")
        if type(outputs.get("depth")) is not int or proof.depth != outputs["depth"]:
            return Verdict.fail(f"the depth is {proof.depth}, not {outputs.get('depth')!r}")
        why = (
            _form(proof, meaning)
            or _argument(proof, meaning)
            or _statement(proof, meaning)
            or _copied(outputs.get("steps"), text)
            or _corrupted(outputs.get("corrupted"), proof, text, meaning)
            or _asked(outputs.get("verifiable"), proof, meaning)
        )
    except Unreadable as error:
        return Verdict.fail(f"the text cannot be read: {error}")
    except ValueError as error:
        return Verdict.fail(str(error))
    return Verdict.fail(why) if why else Verdict.ok()


def _form(proof: Proof, meaning: Meaning) -> str:
    """Whether the lines hang together, whatever they say."""
    if not proof.steps or proof.steps[-1].claim != proof.goal:
        return "the last step is not what is to be shown"
    lines = (*proof.given, *proof.built, *proof.steps)
    cited = {number for step in proof.steps for number in step.cites}
    idle = [line.number for line in lines[:-1] if line.number not in cited]
    if idle:
        return f"nothing rests on line {idle[0]}"
    if len({line.claim for line in lines}) < len(lines):
        return "a claim stands there twice"
    if not proof.built:
        return ""
    if not meaning.constructs:
        return "nothing can be constructed in this domain"
    stated = meaning.names(proof.goal).union(*(meaning.names(line.claim) for line in proof.given))
    old = [line.number for line in proof.built if meaning.names(line.claim) <= stated]
    return f"line {old[0]} is no construction: it says more of what is given" if old else ""


def _argument(proof: Proof, meaning: Meaning) -> str:
    """Whether each step follows from what it cites, and needs all of it."""
    claims = {line.number: line.claim for line in (*proof.given, *proof.built, *proof.steps)}
    for step in proof.steps:
        cited = [claims[number] for number in step.cites]
        if not meaning.follows(cited, step.claim):
            return f"line {step.number} does not follow from {list(step.cites)}"
        spare = _spare(cited, step.claim, meaning)
        if spare is not None:
            return f"line {step.number} does not need line {step.cites[spare]}"
    return ""


def _statement(proof: Proof, meaning: Meaning) -> str:
    """Whether the goal follows from what is given, and needs all of it."""
    given = [line.claim for line in proof.given]
    if not meaning.follows(given, proof.goal):
        return "what is to be shown does not follow from what is given"
    spare = _spare(given, proof.goal, meaning)
    return "" if spare is None else f"what is to be shown does not need line {proof.given[spare].number}"


def _spare(premises: Sequence[str], claim: str, meaning: Meaning) -> int | None:
    """The place of a premise without which the claim follows all the same."""
    for at in range(len(premises)):
        if meaning.follows([*premises[:at], *premises[at + 1 :]], claim):
            return at
    return None


def _parts(record: Any) -> tuple[str, list[str], list[bool]]:
    if not isinstance(record, Mapping) or set(record) != {"prompt", "completions", "labels"}:
        raise ValueError("stepwise records need prompt, completions and labels")
    prompt, completions, labels = record["prompt"], record["completions"], record["labels"]
    if not isinstance(completions, list | tuple) or not all(isinstance(each, str) for each in (prompt, *completions)):
        raise ValueError("the prompt of a stepwise record must be text, and so must its completions")
    if not isinstance(labels, list | tuple) or [type(each) for each in labels] != [bool] * len(completions):
        raise ValueError("a stepwise record needs one true or false for each completion")
    return prompt, list(completions), list(labels)


def _copied(record: Any, text: str) -> str:
    prompt, completions, labels = _parts(record)
    if f"{prompt}\nProof:\n" + "\n".join(completions) != text:
        return "steps are not those of the text"
    return "" if all(labels) else "a step that follows is labelled false"


def _corrupted(record: Any, proof: Proof, text: str, meaning: Meaning) -> str:
    prompt, completions, labels = _parts(record)
    stated, _, worked = text.partition("\nProof:\n")
    if prompt != stated:
        return "the corrupted steps have another prompt"
    if not labels or labels[-1] or not all(labels[:-1]):
        return "of the corrupted steps the last one must be labelled false, and no other"
    if completions[:-1] != worked.split("\n")[: len(completions) - 1]:
        return "the corrupted steps do not begin as the proof does"
    lines: tuple[Line, ...] = (*proof.given, *read_lines(completions, len(proof.given) + 1))
    claims = {line.number: line.claim for line in lines}
    wrong = lines[-1]
    if wrong.constructed or not wrong.cites or not all(0 < cited < wrong.number for cited in wrong.cites):
        return "the corrupted step does not cite lines before it"
    follows = meaning.follows([claims[number] for number in wrong.cites], wrong.claim)
    return f"line {wrong.number} follows, but is labelled false" if follows else ""


def _asked(record: Any, proof: Proof, meaning: Meaning) -> str:
    if not isinstance(record, Mapping) or set(record) != {"prompt", "solution"}:
        return "verifiable records need prompt and solution"
    prompt, solution = record["prompt"], record["solution"]
    if not isinstance(prompt, str) or not isinstance(solution, str):
        return "prompt and solution must be text"
    body, mark, asked = prompt.rpartition("\nQuestion: ")
    if not mark:
        return "there is no line 'Question: ...'"
    title, given = read_given(body)
    claims = [line.claim for line in given]
    if title != proof.title or not set(claims) <= {line.claim for line in proof.given}:
        return "the question is about something else than the theorem"
    return meaning.answers(asked, claims, solution)
