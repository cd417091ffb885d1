"""A plan as a DSPy module: the plan's own prompt, through DSPy's LM, callbacks and history."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy

from stillroom.engines import Engine
from stillroom.errors import BadConfig, EngineError

from .answers import answer_many
from .plan import Plan

__all__ = ["PlanAdapter", "PlanModule"]


class PlanAdapter(dspy.Adapter):
    """Render and parse exactly as `plan` does, so that DSPy sends what emission sends."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def format(self, signature: Any, demos: list[dict[str, Any]], inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The plan's messages for one row."""
        request = self.plan.render(inputs)
        turns = [{"role": message.role, "content": message.text} for message in request.messages]
        return [{"role": "system", "content": self.plan.system}, *turns]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """The plan's typed outputs; DSPy's own error when the text does not fit."""
        from dspy.utils.exceptions import AdapterParseError

        from stillroom.signatures import FORMATS, Unparsed

        try:
            return FORMATS[self.plan.format].parse(self.plan.asked, completion)
        except Unparsed as error:
            raise AdapterParseError("PlanAdapter", signature, completion, str(error)) from error


class PlanModule(dspy.Module):
    """Predict with a plan. `predict` is a `dspy.Predict`, so DSPy's optimizers and tools can see it."""

    def __init__(self, plan: Plan, lm: dspy.LM | None = None) -> None:
        super().__init__()
        self.plan = plan
        self.predict = dspy.Predict(plan.asked.to_signature(plan.instruction))
        self.predict.demos = [
            dspy.Example(**demo.inputs, **demo.outputs).with_inputs(*demo.inputs) for demo in plan.demos
        ]
        if lm is not None:
            self.set_lm(lm)

    def forward(self, **inputs: Any) -> Any:
        """Answer one row; returns a `dspy.Prediction` with the task's outputs.

        A plan that scores its labels asks the engine behind the LM; DSPy's history and callbacks see no call.

        Raises:
            BadConfig: If the plan scores labels and the LM is not one of `stillroom.engines.as_lm`, or cannot score.
        """
        if self.plan.scored is not None:
            return self._scored(inputs)
        with dspy.context(adapter=PlanAdapter(self.plan)):
            return self.predict(**inputs, config=self._config())

    async def aforward(self, **inputs: Any) -> Any:
        """Answer one row without blocking."""
        if self.plan.scored is not None:
            return await asyncio.to_thread(self._scored, inputs)
        with dspy.context(adapter=PlanAdapter(self.plan)):
            return await self.predict.acall(**inputs, config=self._config())

    def _scored(self, inputs: dict[str, Any]) -> Any:
        (answer,) = answer_many(self.plan, self._engine(), [inputs])
        if isinstance(answer, EngineError):
            raise answer
        return dspy.Prediction(**(answer.outputs or {}))

    def _engine(self) -> Engine:
        lm = self.predict.lm or dspy.settings.lm
        engine = getattr(getattr(lm, "engine", None), "engine", None)
        if not isinstance(engine, Engine):
            raise BadConfig(
                f"a plan that scores labels needs an engine of ours behind its LM, got {lm!r}",
                mend="Give it stillroom.engines.as_lm(engine).",
            )
        return engine

    def _config(self) -> dict[str, Any]:
        """The plan's decoding in the keywords that DSPy turns back into a request's config."""
        config = self.plan._config
        keywords = {"temperature": config.temperature, "max_tokens": config.max_tokens, "top_p": config.top_p}
        if config.response_format is not None:
            schema = {key: config.response_format[key] for key in ("name", "schema", "strict")}
            keywords["response_format"] = {"type": "json_schema", "json_schema": schema}
        keywords.update(config.extensions or {})
        return {key: value for key, value in keywords.items() if value is not None}
