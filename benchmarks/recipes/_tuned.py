"""The small model fine-tuned on a few hundred conversations, beside the one it was: both asked the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stillroom.engines import Engine, open_session
from stillroom.engines.files import find
from stillroom.engines.local import LocalEngine
from stillroom.errors import EngineError
from stillroom.optimizers.students import lora
from stillroom.programs import Decoding, Plan, answer_many
from stillroom.signatures import FORMATS, Shape

from ._check import Models

__all__ = ["plan_of", "tuned_and_not"]

Row = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Inputs and outputs."""


def plan_of(shape: Shape, *, max_tokens: int) -> Plan:
    """Ask for the one output as it is, greedily; of whichever model is put in."""
    return Plan(shape, "local/smollm2-135m", shape.instruction, format="bare", decoding=Decoding(max_tokens=max_tokens))


def tuned_and_not(
    models: Models, plan: Plan, rows: Sequence[Row], asked: Sequence[Mapping[str, Any]], *, epochs: int = 1
) -> tuple[list[str], list[str], lora.TrainedStudent]:
    """Train on `rows`, then ask `asked` of the trained model and of the one it was.

    What was trained, and what was answered, is found again in the run folder.

    Returns:
        The trained model's answers, the other's, and the student.
    """
    settings = lora.LoraSettings(epochs=epochs, min_steps=1)
    turns = [_conversation(plan, *row) for row in rows]
    student = lora.train(find("smollm2-135m").path, turns, models.run / "student", settings)
    engine = LocalEngine(student.path, name="student", digest=student.sha256[:12])
    try:
        after = _answers(models, engine, plan, asked, "tuned")
    finally:
        engine.close()
    return after, _answers(models, models("smol"), plan, asked, "untuned"), student


def _answers(models: Models, engine: Engine, plan: Plan, asked: Sequence[Mapping[str, Any]], folder: str) -> list[str]:
    mine = replace(plan, model=engine.model)
    (name,) = (each.name for each in plan.shape.outputs)
    with open_session(engine, models.run / folder, "check", {"plan": plan.digest}) as session:
        found = answer_many(mine, session.engine, asked)
    return ["" if isinstance(each, EngineError) or each.outputs is None else str(each.outputs[name]) for each in found]


def _conversation(plan: Plan, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[dict[str, str]]:
    turns = [{"role": each.role, "content": each.text or ""} for each in plan.render(inputs).messages]
    said = FORMATS[plan.format].write(plan.asked, outputs)
    return [{"role": "system", "content": plan.system}, *turns, {"role": "assistant", "content": said}]
