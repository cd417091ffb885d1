"""What is asked to answer or to write anew: solutions, tests, rewritings, translations."""

from __future__ import annotations

from typing import Literal

import dspy
from typing_extensions import TypedDict

__all__ = [
    "Answer",
    "Describe",
    "Evolve",
    "FromDoc",
    "Paraphrase",
    "Repair",
    "RepairCode",
    "Rephrase",
    "Revise",
    "Solve",
    "SolveCode",
    "SolveMixed",
    "Translate",
    "WriteCheck",
    "WriteTests",
]

In, Out = dspy.InputField, dspy.OutputField


class Block(TypedDict):
    """One piece of a mixed solution."""

    kind: Literal["text", "code"]
    body: str


class Answer(dspy.Signature):
    """Follow the instruction."""

    system: str = In(desc="what to keep to")
    instruction: str = In()
    input: str = In(desc="what the instruction is about; may be empty")
    response: str = Out()


class Solve(dspy.Signature):
    """Solve the problem step by step, then give the final answer alone."""

    problem: str = In()
    steps: list[str] = Out()
    answer: str = Out(desc="the final answer: a number, a formula or a few words")


class SolveMixed(dspy.Signature):
    """Solve the problem in text and Python, in turns. Each piece of code prints what the text behind it relies on."""

    problem: str = In()
    blocks: list[Block] = Out()
    answer: str = Out()


class SolveCode(dspy.Signature):
    """Write code that solves the problem."""

    problem: str = In()
    language: str = In()
    code: str = Out()


class WriteTests(dspy.Signature):
    """Write five tests of the Python function that the problem asks for. You do not see a solution.

    Each test is an assert statement on a line of its own, that calls the function and compares what it gives. Test only
    what the problem says, with inputs so small that you are sure of the result: a usual case first, then edge cases.
    """

    problem: str = In()
    entry: str = In(desc="name of the function")
    tests: str = Out(desc="assert statements, one a line")


class WriteCheck(dspy.Signature):
    """Write a Python function `check(response: str) -> bool` that says whether a response keeps to the instruction."""

    instruction: str = In()
    fn: str = Out(desc="the whole function, nothing else")


class Evolve(dspy.Signature):
    """Rewrite the instruction as the operation says. Write the new instruction alone, without answering it."""

    instruction: str = In()
    op: str = In(desc="what to do to it")
    evolved: str = Out(desc="the new instruction")


class Rephrase(dspy.Signature):
    """Write the passage anew in the style asked for. Keep all of its facts and add none."""

    passage: str = In()
    style: str = In()
    text: str = Out()


class Paraphrase(dspy.Signature):
    """Say the instruction in other words. It must ask for the same, of the same input."""

    instruction: str = In()
    input: str = In()
    paraphrase: str = Out()


class Translate(dspy.Signature):
    """Translate the text. Code keeps what it does, prose what it says."""

    text: str = In()
    source: str = In(desc="language of the text")
    target: str = In(desc="language wanted")
    kind: Literal["code", "prose"] = In()
    translation: str = Out()


class Describe(dspy.Signature):
    """Explain the code in English sentences, so well that somebody could write it again without seeing it.

    Name the function and its parameters in their order and say what it gives back. Then say each step that it takes and
    each number that it uses, and what it does in edge cases. Do not write any code.
    """

    code: str = In()
    doc: str = Out(desc="sentences, without code")


class FromDoc(dspy.Signature):
    """Write the code that the documentation describes."""

    doc: str = In()
    language: str = In()
    code: str = Out()


class Revise(dspy.Signature):
    """Write a new response to the instruction, one that follows the principle as the old response does not."""

    instruction: str = In()
    response: str = In(desc="the old response")
    critique: str = In(desc="what is wrong with the old response")
    principle: str = In(desc="what the new response must follow")
    revised: str = Out(desc="the new response")


class Repair(dspy.Signature):
    """Correct the attempt, given what went wrong with it."""

    problem: str = In()
    attempt: str = In()
    feedback: str = In()
    repaired: str = Out(desc="the whole corrected attempt")


class RepairCode(dspy.Signature):
    """Correct the code, given what went wrong with it. Where a test itself is wrong, correct the test."""

    problem: str = In()
    code: str = In()
    tests: str = In(desc="assert statements, one a line")
    feedback: str = In(desc="what the parser, the linter or the tests said")
    fixed_code: str = Out(desc="the whole corrected code")
    fixed_tests: str = Out(desc="all tests again, one a line")
