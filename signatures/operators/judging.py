"""What is asked to find fault, to rate, to choose or to put in order."""

from __future__ import annotations

from typing import Literal

import dspy
from typing_extensions import TypedDict

__all__ = [
    "Assess",
    "Attributes",
    "Classify",
    "Compare",
    "Critique",
    "Discriminate",
    "Intentions",
    "Judge",
    "Rank",
    "Rate",
    "WriteForScore",
    "YesNo",
]

In, Out = dspy.InputField, dspy.OutputField


class Rule(TypedDict):
    """One rule a case was held against."""

    rule: str
    ok: bool
    reason: str


class Rating(TypedDict):
    """What one of several responses deserves."""

    reason: str
    points: int


class Critique(dspy.Signature):
    """Say in a few sentences what in the response breaks the principle."""

    instruction: str = In()
    response: str = In()
    principle: str = In()
    critique: str = Out()


class Assess(dspy.Signature):
    """Explain the response's score by the rubric and the reference; then write [RESULT] and the score, as [RESULT] 3."""

    instruction: str = In()
    response: str = In()
    rubric: str = In()
    reference: str = In(desc="an answer that deserves full points; may be empty")
    score: int = In(desc="points the response was given")
    assessment: str = Out(desc="feedback, then [RESULT] and the score")


class Judge(dspy.Signature):
    """Judge the response by the rubric: reasons first, then the points."""

    instruction: str = In()
    response: str = In()
    rubric: str = In()
    reference: str = In(desc="an answer that deserves full points; may be empty")
    feedback: str = Out()
    score: int = Out(desc="points, on the rubric's scale")


class YesNo(dspy.Signature):
    """Answer the question about the text with yes or no."""

    question: str = In()
    text: str = In()
    verdict: Literal["yes", "no"] = Out()


class Classify(dspy.Signature):
    """Choose the one label that fits the text."""

    text: str = In()
    labels: list[str] = In()
    label: str = Out(desc="one of the labels, as it is written")


class Intentions(dspy.Signature):
    """Name every single thing that the instruction wants done, a few words each."""

    instruction: str = In()
    intentions: list[str] = Out(desc="one for each thing wanted; more for a harder instruction")


class Attributes(dspy.Signature):
    """Rate the response to the prompt on each attribute."""

    prompt: str = In()
    response: str = In()
    names: list[str] = In(desc="the attributes")
    scale: str = In(desc="the lowest and the highest rating")
    attributes: dict[str, int] = Out()


class Compare(dspy.Signature):
    """Say which of two responses follows the principle better."""

    instruction: str = In()
    a: str = In()
    b: str = In()
    principle: str = In()
    better: Literal["A", "B"] = Out()


class Rate(dspy.Signature):
    """Rate each of the responses by the rubric: for each a reason, then its points. Their order means nothing."""

    instruction: str = In()
    responses: list[str] = In()
    rubric: str = In()
    knowledge: str = In(desc="what is known to be true of it; may be empty")
    ratings: list[Rating] = Out(desc="one for each response, in the order given")


class Rank(dspy.Signature):
    """Compare the pairs of responses one after the other, then put all responses in order, the best first."""

    instruction: str = In()
    responses: list[str] = In(desc="numbered from 1 in the order given")
    pairs: list[str] = In(desc="which numbers to compare, in this order")
    comparisons: list[str] = Out(desc="for each pair which one is better and why, in a few words")
    order: list[int] = Out(desc="all their numbers, the best one's first")


class Discriminate(dspy.Signature):
    """Hold the case against each rule, one after the other, then say whether it is good as a whole."""

    case: str = In()
    criteria: list[str] = In()
    rules: list[Rule] = Out()
    overall: bool = Out()


class WriteForScore(dspy.Signature):
    """Write a response to the instruction that deserves exactly this score by the rubric."""

    instruction: str = In()
    rubric: str = In()
    score: int = In()
    reference: str = In(desc="an answer that deserves full points; may be empty")
    response: str = Out(desc="about as long as the reference")
