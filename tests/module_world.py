"""Small DSPy programs with known answers, and a scripted model that writes in whatever format it is asked."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import dspy
from pydantic import BaseModel

from stillroom.engines import ScriptedEngine, as_lm, open_session
from stillroom.ledger import Budget
from stillroom.optimizers.teleprompt.declared import DeclaredModule
from stillroom.optimizers.teleprompt.modules import ModuleSubject
from stillroom.signatures import DataWarning


class Note(dspy.Signature):
    """Note what the message is about."""

    message: str = dspy.InputField()
    note: str = dspy.OutputField()


class Sort(dspy.Signature):
    """Sort the message by its note."""

    message: str = dspy.InputField()
    note: str = dspy.InputField()
    topic: Literal["odd", "even"] = dspy.OutputField()


class Place(BaseModel):
    """A typed input."""

    row: int
    column: int


class Where(dspy.Signature):
    """Say whether the place is on the diagonal."""

    place: Place = dspy.InputField()
    diagonal: bool = dspy.OutputField()


class Desk(dspy.Module):
    """Predict, then ChainOfThought."""

    def __init__(self) -> None:
        super().__init__()
        self.write = dspy.Predict(Note)
        self.sort = dspy.ChainOfThought(Sort)

    def forward(self, message: str) -> dspy.Prediction:
        """Two calls."""
        note = self.write(message=message).note
        return dspy.Prediction(topic=self.sort(message=message, note=note).topic, note=note)


class Listed(dspy.Module):
    """Predictors in a list and in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [dspy.Predict(Note), dspy.Predict(Sort)]
        self.spare = {"last": dspy.Predict("topic -> echo")}

    def forward(self, message: str) -> dspy.Prediction:
        """Two calls; the third predictor is never asked."""
        note = self.steps[0](message=message).note
        return self.steps[1](message=message, note=note)


def look_up(number: str) -> str:
    """Whether a number is odd or even."""
    return "even" if int(number) % 2 == 0 else "odd"


def agent() -> dspy.Module:
    """ReAct with one tool."""
    return dspy.ReAct("message -> topic: Literal['odd', 'even']", tools=[look_up], max_iters=3)


def row(number: int) -> dspy.Example:
    """One labelled row."""
    topic = "even" if number % 2 == 0 else "odd"
    return dspy.Example(message=f"number {number}", topic=topic).with_inputs("message")


def rows(start: int = 0, count: int = 20) -> list[dspy.Example]:
    """Labelled rows, no two alike."""
    return [row(number) for number in range(start, start + count)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    """A metric as DSPy has them."""
    return example.topic == prediction.topic


def values(request: Any) -> dict[str, Any]:
    """What a flawless model knows: every field that any of the programs asks for."""
    last = request.messages[-1].text or ""
    number = re.findall(r"number (\d+)", last)[-1]
    seen = "observation_0" in last
    return {
        "note": f"it is {number}",
        "reasoning": "by its last digit",
        "topic": look_up(number),
        "next_thought": "done" if seen else "look it up",
        "next_tool_name": "finish" if seen else "look_up",
        "next_tool_args": {} if seen else {"number": number},
    }


def written(request: Any, known: dict[str, Any]) -> str:
    """`known` in the format and with the fields that the request asks for."""
    system = str(request.system)
    fields = re.findall(r"^\d+\. `(\w+)`", system.partition("Your output fields are:")[2].partition("\n\n")[0], re.M)
    fields = fields or re.findall(r"^\d+\. `(\w+)`", system.partition("Your output fields are:")[2], re.M)
    wanted = {name: known[name] for name in fields}
    if "Outputs will be a JSON object" in system:
        return json.dumps(wanted)
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in wanted.items()}
    if "[[ ## " in system:
        return "".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in told.items()) + "[[ ## completed ## ]]"
    return "\n".join(f"<{name}>\n{value}\n</{name}>" for name, value in told.items())


def engine(change: Callable[[Any, dict[str, Any]], Any] | None = None, **settings: Any) -> ScriptedEngine:
    """A scripted model; `change(request, known)` may alter what it knows, or give a reply of its own."""

    def answer(request: Any) -> Any:
        known = values(request)
        changed = change(request, known) if change is not None else known
        return written(request, changed) if isinstance(changed, dict) else changed

    return ScriptedEngine(answer, **settings)


@contextlib.contextmanager
def subject(
    student: dspy.Module, scripted: Any, run: Path, *, metric: Any = right, budget: Budget | None = None, **more: Any
) -> Iterator[ModuleSubject]:
    """A subject under a session of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        declared = DeclaredModule(student, metric, more.pop("trainset", rows()), lm=scripted, **more)
    try:
        with open_session(declared.engine, run, "compile", declared.fingerprint, budget) as session:
            opened = ModuleSubject(declared, session)
            try:
                yield opened
            finally:
                opened.meters.drain()
    finally:
        declared.sources.close()


def lm(scripted: ScriptedEngine, **settings: Any) -> dspy.LM:
    """The scripted model as DSPy's LM."""
    return as_lm(scripted, **settings)
