"""Propose instructions, grounded in the signature, labelled rows and the baseline's mistakes.

Every proposal is made by a plan of its own, so that it is recorded, budgeted and
repeatable like any other call. Only rows of the demos split are shown.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from stillroom.engines import Engine
from stillroom.errors import EngineError
from stillroom.programs import Decoding, Outcome, Plan
from stillroom.signatures import Example, Field, Shape, Task, Unparsed
from stillroom.signatures.formats import user_text

__all__ = ["proposals", "sound"]

TEXT = {"type": "string"}
LONGEST = 1500  # characters; a longer instruction is mostly repetition
META = re.compile(
    r"^\s*(sure|certainly|here (is|are)|as an ai|okay|of course)\b|improved instruction|\[\[ ##", re.IGNORECASE
)


def proposals(task: Task, engine: Engine, tried: Mapping[str, Outcome], count: int, seed: int) -> list[str]:
    """The task's own instruction first, then up to `count` + 1 sound proposals.

    Args:
        task: What the instruction is for.
        engine: Writes the proposals.
        tried: What the baseline made of rows of the demos split, by example id.
        count: Rewritten instructions to ask for.
        seed: Of rows shown and of sampling.

    Raises:
        EngineError: If the engine failed for good.
        BudgetExceeded: If the budget ends first.
    """
    own = task.shape.instruction
    guided = [_guide(task, engine, tried)] if task.shape.label_field else []
    rewritten = _rewrite(task, engine, tried, count, seed)
    return list(dict.fromkeys([own, *(text for text in guided + rewritten if text)]))


def sound(text: str, task: Task) -> bool:
    """Whether a proposal may be used: whole, of sensible length, no chatter, no data row in it."""
    if not 20 <= len(text) <= LONGEST or META.search(text):
        return False
    folded = " ".join(text.casefold().split())
    rows = (" ".join(example.text.casefold().split()) for split in task.splits.values() for example in split)
    return not any(len(row) >= 20 and row in folded for row in rows)


def _rewrite(task: Task, engine: Engine, tried: Mapping[str, Outcome], count: int, seed: int) -> list[str]:
    """Ask for better instructions, each from another draw of rows and mistakes."""
    shape = Shape(
        "ProposeInstruction",
        "You improve the instruction given to a language model. Study the current instruction, the worked examples and the mistakes. "
        "Write a better instruction in at most six sentences: say what to decide, the rules that the examples show, and how to avoid "
        "mistakes like these. State general rules; do not quote the examples.",
        (Field("current", TEXT), Field("examples", TEXT), Field("mistakes", TEXT)),
        (Field("instruction", TEXT),),
    )
    plan = Plan(shape, engine.model, shape.instruction, decoding=Decoding(temperature=0.8, max_tokens=400, top_p=0.95))
    requests = []
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        shown = rng.sample(list(task.demos), min(6, len(task.demos)))
        requests.append(
            plan.render(
                {
                    "current": task.shape.instruction,
                    "examples": _pairs(task, shown),
                    "mistakes": _mistakes(task, tried, rng),
                },
                seed=seed + number,
            )
        )
    texts = [_read(plan, response, "instruction") for response in engine.complete_many(requests)]
    return [text for text in texts if sound(text, task)]


def _guide(task: Task, engine: Engine, tried: Mapping[str, Outcome]) -> str:
    """The task's instruction with one sentence on each label, written from its rows and near misses."""
    label = task.shape.label_field
    assert label is not None
    shape = Shape(
        "DefineLabel",
        f"A task says: {task.shape.instruction}\nDefine one {label.name} in one sentence of at most 25 words, so that nobody confuses it with the others. "
        "Describe what belongs to it in general; do not quote the examples.",
        (Field(label.name, TEXT), Field("examples", TEXT), Field("not_to_be_confused_with", TEXT)),
        (Field("definition", TEXT),),
    )
    plan = Plan(shape, engine.model, shape.instruction, decoding=Decoding(max_tokens=80))
    rows: defaultdict[str, list[Example]] = defaultdict(list)
    for example in task.demos:
        rows[example.outputs[label.name]].append(example)
    requests = []
    for name in label.labels:
        texts = "\n".join(f"- {user_text(task.shape, example.inputs)}" for example in rows[name][:8])
        confused = {
            str(tried[example.id].outputs.get(label.name))
            for example in rows[name]
            if example.id in tried and tried[example.id].score < 1
        }
        requests.append(
            plan.render(
                {
                    label.name: name,
                    "examples": texts or "(none)",
                    "not_to_be_confused_with": ", ".join(sorted(confused - {name, "None"})) or "(none)",
                }
            )
        )
    definitions = [_read(plan, response, "definition") for response in engine.complete_many(requests)]
    lines = [f"- {name}: {text}" for name, text in zip(label.labels, definitions, strict=True) if sound(text, task)]
    return f"{task.shape.instruction}\n\nWhat each {label.name} means:\n" + "\n".join(lines) if lines else ""


def _read(plan: Plan, response: object, name: str) -> str:
    """The proposal's text, or "" for an answer that is cut off or does not parse: a proposal that is not made."""
    if isinstance(response, EngineError):
        raise response
    if response.finish_reason == "length":  # type: ignore[attr-defined]
        return ""
    try:
        return str(plan.read(response)[name]).strip()  # type: ignore[arg-type]
    except Unparsed:
        return ""


def _pairs(task: Task, examples: Sequence[Example]) -> str:
    return "\n".join(
        f"- {user_text(task.shape, example.inputs)}\n  -> {_outputs(example.outputs)}" for example in examples
    )


def _mistakes(task: Task, tried: Mapping[str, Outcome], rng: random.Random) -> str:
    wrong = [example for example in task.demos if example.id in tried and tried[example.id].score < 1]
    lines = []
    for example in rng.sample(wrong, min(5, len(wrong))):
        outcome = tried[example.id]
        got = (
            _outputs({each.name: outcome.outputs.get(each.name) for each in task.shape.outputs})
            if outcome.outputs
            else "no answer that could be read"
        )
        lines.append(
            f"- {user_text(task.shape, example.inputs)}\n  answered {got}, right is {_outputs(example.outputs)}"
        )
    return "\n".join(lines) or "(none)"


def _outputs(outputs: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in outputs.items())
