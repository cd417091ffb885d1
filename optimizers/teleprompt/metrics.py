"""Metrics of DSPy modules: DSPy's own, GEPA's with feedback, our verifiers and judges, all as verdicts."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals import Verdict, Verifier
from stillroom.evals.verdict import metric_name

__all__ = ["ModuleMetric", "module_metric"]


@dataclass(frozen=True)
class ModuleMetric:
    """A named metric of predictions: `judge(example, prediction)`, a `dspy.Example` and what the module returned."""

    name: str
    judge: Callable[[Any, Any], Verdict]


def module_metric(metric: Callable[..., Any]) -> ModuleMetric:
    """Read any metric as one that gives verdicts.

    A `Verifier`, or another callable of two that says it takes rows (an object with a `name`, a
    first parameter `expected`, or a returned `Verdict` in its annotations), is called with two
    mappings: inputs and labels of the row, outputs of the prediction. Any other is called as
    DSPy does, with example and prediction, and `None` for each further argument that it
    requires (`trace`, GEPA's `pred_name` and `pred_trace`).

    It may return a `Verdict`, a bool, a number in 0..1, `None` (unverified), or a
    `Prediction` or mapping with `score` and, if it likes, `feedback`.

    Raises:
        BadConfig: If it is no callable, or has neither a name nor a source to make one from.
            The returned metric raises it for a score that is no number in 0..1.
    """
    if not callable(metric):
        raise BadConfig(f"metric must be callable, got {metric!r}", mend="For example stillroom.exact('label').")
    name = metric_name(metric)
    if isinstance(metric, Verifier) or _takes_rows(metric):

        def judge_rows(example: Any, prediction: Any) -> Verdict:
            return _verdict(metric(dict(example.items()), outputs_of(prediction)), name)

        return ModuleMetric(name, judge_rows)
    further = (None,) * max(0, len(_required(metric)) - 2)

    def judge(example: Any, prediction: Any) -> Verdict:
        return _verdict(metric(example, prediction, *further), name)

    return ModuleMetric(name, judge)


def outputs_of(prediction: Any) -> dict[str, Any]:
    """The fields of what a module returned; `output` where it is a bare value."""
    if isinstance(prediction, Mapping):
        return dict(prediction)
    items = getattr(prediction, "items", None)
    return dict(items()) if callable(items) else {"output": prediction}


def _verdict(found: Any, name: str) -> Verdict:
    if isinstance(found, Verdict):
        return found
    feedback = ""
    fields = outputs_of(found)
    if "score" in fields:
        found, feedback = fields["score"], str(fields.get("feedback") or "")
    if found is None:
        return Verdict.unverified(feedback or f"{name} gave no score")
    try:
        score = float(found)
    except (TypeError, ValueError):
        score = math.nan
    if not 0.0 <= score <= 1.0:
        raise BadConfig(
            f"a metric must give a bool, a number in 0..1, a Verdict or None, got {found!r} from {name}",
            mend="Divide it by its largest value: tests of scores need to know their range.",
        )
    return Verdict(score, feedback or ("" if score == 1.0 else f"{name} gave {score:g}"))


def _takes_rows(metric: Callable[..., Any]) -> bool:
    required = _required(metric)
    if len(required) != 2:
        return False
    returned = getattr(_body(metric), "__annotations__", {}).get("return")
    said = returned is Verdict or str(returned).endswith("Verdict")
    ours = not inspect.isroutine(metric) and isinstance(getattr(metric, "name", None), str)
    return said or required[0] == "expected" or ours


def _body(metric: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose parameters count: of a DSPy module its `forward`, of an object its `__call__`."""
    if isinstance(metric, functools.partial) or inspect.isroutine(metric) or inspect.isclass(metric):
        return metric
    forward = getattr(type(metric), "forward", None)
    body = forward if forward is not None else type(metric).__call__
    return functools.partial(body, metric)


def _required(metric: Callable[..., Any]) -> list[str]:
    """Names of the positional parameters without a default."""
    try:
        parameters = inspect.signature(_body(metric)).parameters.values()
    except (TypeError, ValueError):
        return ["example", "prediction"]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]
