"""What is asked to come up with something: tasks, examples, texts, questions, queries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import dspy
from pydantic import Field
from typing_extensions import TypedDict

__all__ = [
    "Abstract",
    "AskAbout",
    "CallTools",
    "Compose",
    "ContinueTasks",
    "Crossover",
    "ExtractQA",
    "InstructionFor",
    "MakeCase",
    "MakeInstances",
    "MakeLabelled",
    "ProposeExamples",
    "ProposeFrom",
    "ProposeInput",
    "ProposeSolved",
    "ProposeTasks",
    "ToolQuery",
    "WriteForLabel",
]

In, Out = dspy.InputField, dspy.OutputField


class Instance(TypedDict):
    """One example of a task."""

    input: str
    output: str


class Example(TypedDict):
    """A task with one example of it."""

    instruction: str
    input: str
    output: str


class LabelledInstance(TypedDict):
    """One example of a classification task, its label first."""

    label: str
    input: str


class Pair(TypedDict):
    """A question and its answer."""

    question: str
    answer: str


class ToolCall(TypedDict):
    """One call of a tool; its arguments are a JSON object, or the text of one."""

    name: str
    arguments: dict[str, Any] | str


class ProposeTasks(dspy.Signature):
    """Come up with new tasks in the manner of those shown. Make them diverse, and different from those shown."""

    demos: list[str] = In(desc="tasks that are there already")
    n: int = In(desc="how many new tasks to write")
    tasks: Annotated[list[str], Field(max_length=20)] = Out(desc="one instruction each, in the imperative")


class ContinueTasks(dspy.Signature):
    """Come up with a series of tasks, each very different from those before it."""

    listed: str = In(desc="the series so far, and which numbers to write next")
    tasks: str = Out(desc="the next tasks, numbered, one a line, one instruction each")


class ProposeExamples(dspy.Signature):
    """Come up with new tasks in the manner of those shown, each with an input and its right output.

    Leave the input empty where a task needs none. Make the tasks diverse in verb, kind and wording, and such that a
    model of text alone can do them.
    """

    demos: list[str] = In(desc="tasks that are there already")
    n: int = In(desc="how many new tasks to write")
    tasks: Annotated[list[Example], Field(max_length=20)] = Out(desc="objects with instruction, input and output")


class ProposeInput(dspy.Signature):
    """Come up with one more task in the manner of those shown, but very different from them.

    Say what is to be done, give one input to do it with, and what the output must keep to.
    """

    demos: list[str] = In(desc="tasks that are there already")
    instruction: str = Out()
    input: str = Out(desc="one concrete input, whole")
    constraints: str = Out(desc="what the output must keep to, or None.")


class ProposeFrom(dspy.Signature):
    """Write one self-contained problem that the seed inspires and that meets the constraint."""

    seed: str = In()
    kind: Literal["snippet", "topic", "name", "words", "rubric", "attrs"] = In(desc="what the seed is")
    constraint: str = In()
    problem: str = Out()


class ProposeSolved(dspy.Signature):
    """Write one self-contained programming problem that the seed inspires and that meets the constraint, and solve it."""

    seed: str = In()
    kind: Literal["snippet", "topic", "name"] = In(desc="what the seed is")
    constraint: str = In()
    problem: str = Out(desc="can be understood without the seed, which it does not repeat")
    solution: str = Out(desc="complete and correct")


class Crossover(dspy.Signature):
    """Write one more text of the kind, in the manner of those before: take what is good in them, and say something new."""

    kind: str = In()
    text: str = Out()


class MakeInstances(dspy.Signature):
    """Write examples of the task: an input, empty where the task needs none, then its right output."""

    task: str = In()
    instances: Annotated[list[Instance], Field(max_length=5)] = Out(desc="objects with input and output")


class MakeLabelled(dspy.Signature):
    """For a classification task, write an input for each label: the label first, then an input that it is right for."""

    task: str = In()
    labels: list[str] = In(desc="the labels to write for; name them yourself where there are none")
    instances: Annotated[list[LabelledInstance], Field(max_length=5)] = Out(desc="objects with label and input")


class WriteForLabel(dspy.Signature):
    """Write a text that the label is right for, with the attributes given."""

    label: str = In()
    definition: str = In()
    attributes: str = In()
    text: str = Out()


class Compose(dspy.Signature):
    """Write the text. Write it alone: no title, no word about the task."""

    subject: str = In(desc="what it is about")
    requirements: str = In(desc="form, readers, style, and what it must contain")
    text: str = Out()


class InstructionFor(dspy.Signature):
    """Write the instruction that the text would be an excellent answer to."""

    text: str = In()
    detail: str = In(desc="how detailed the instruction is to be; may be empty")
    instruction: str = Out()


class ExtractQA(dspy.Signature):
    """Ask questions that the passage answers. Each answer is a piece of the passage, word for word."""

    passage: str = In()
    n: int = In(desc="how many")
    pairs: list[Pair] = Out()


class AskAbout(dspy.Signature):
    """Ask one factual question that the passage answers and that makes sense without it."""

    passage: str = In()
    question: str = Out()


class MakeCase(dspy.Signature):
    """Make one training case of the code for the task: an instruction, what it needs to know, and the solution."""

    code: str = In()
    task: str = In()
    good: list[str] = In(desc="cases that were accepted")
    bad: list[str] = In(desc="cases that were refused, and why")
    task_name: str = Out()
    case_instruction: str = Out(desc="one or two sentences")
    information: str = Out(desc="what the instruction is about, at most two sentences or the code; may be empty")
    solution: str = Out()


class ToolQuery(dspy.Signature):
    """Think of an everyday situation of the topic, and write the question that a user asks next in it.

    Whoever answers knows nothing about the situation: the question itself names every figure and every fact that the
    answer is worked out from. It mentions neither tools nor how the answer is found.
    """

    tools: str = In(desc="what can be used to answer; may be empty")
    n_calls: int = In(desc="how many calls of tools the answer takes")
    manner: str = In(desc="what kind of question it is")
    topic: str = In(desc="what it is about; may be empty")
    conversation: str = In(desc="what was said before; may be empty")
    facts: str = Out(desc="the figures and names of the situation that the answer is worked out from; may be empty")
    query: str = Out(desc="what the user says, with all of these facts in it")


class CallTools(dspy.Signature):
    """Say what to do next, and which tools to call.

    A call's arguments are made of what the query and the results so far say, and of nothing else. Give no calls where
    the results answer the query already, or where it can be answered without a tool.
    """

    query: str = In()
    tools: str = In(desc="their JSON schemas")
    history: str = In(desc="what was said before, and calls so far with their results; may be empty")
    thought: str = Out(desc="one short sentence")
    calls: list[ToolCall] = Out(desc="those to make now, [] for none")


class Abstract(dspy.Signature):
    """Rewrite the solution so that each derived value is a placeholder, as in [20 + 35 = y1]."""

    question: str = In()
    gold: str = In(desc="the solution")
    chain: str = Out(desc="the reasoning with placeholders in brackets")
    goal: str = Out(desc="the placeholder that holds the final answer")
