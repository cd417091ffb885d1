"""A format for each predictor of a DSPy module, where DSPy has one adapter for all.

Importing this module imports DSPy, whose `Predict` it derives from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dspy

from stillroom.errors import BadConfig

__all__ = ["AMBIENT", "FORM", "FORMATS", "CompiledPredict", "ambient_adapter", "ambient_format"]

AMBIENT = "ambient"  # the user's own adapter, of a kind that has no name here
FORMATS = ("chat", "json", "xml")
FORM = "stillroom_form"
# a plain `Predict.load_state` ignores what it does not know; a field that it does not know it refuses
REFUSED = "load it with stillroom.load_module: its format or reasoning is more than DSPy's state holds"


def ambient_format() -> str:
    """The name of DSPy's configured adapter; `ambient` for one of another kind."""
    adapter = dspy.settings.adapter
    kinds = {type(None): "chat", dspy.ChatAdapter: "chat", dspy.JSONAdapter: "json", dspy.XMLAdapter: "xml"}
    return kinds.get(type(adapter), AMBIENT)


def ambient_adapter() -> Any:
    """DSPy's configured adapter without its fallback to JSON, which would be a second paid call."""
    adapter = copy.copy(dspy.settings.adapter or dspy.ChatAdapter())
    if getattr(adapter, "use_json_adapter_fallback", False):
        adapter.use_json_adapter_fallback = False
    return adapter


@contextmanager
def _asked_in(format: str | None) -> Iterator[None]:
    if format is None:
        yield
        return
    with dspy.context(adapter=_adapter(format)):
        yield


def _adapter(format: str) -> Any:
    if format == "chat":
        return dspy.ChatAdapter(use_json_adapter_fallback=False)
    return {"json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}[format]()


class CompiledPredict(dspy.Predict):
    """A `dspy.Predict` that keeps its own format, and its decoding when it is saved.

    A predictor becomes one by `predictor.__class__ = CompiledPredict`: it keeps its place
    and identity in the module. DSPy's state files hold neither format nor added reasoning,
    so a plain `Predict` refuses to load such a state rather than lose them.
    """

    stillroom_format: str | None = None
    stillroom_reasoning: bool = False

    def forward(self, **kwargs: Any) -> Any:
        """As `Predict`, in this predictor's format."""
        with _asked_in(self.stillroom_format):
            return super().forward(**kwargs)

    async def aforward(self, **kwargs: Any) -> Any:
        """As `Predict`, in this predictor's format."""
        with _asked_in(self.stillroom_format):
            return await super().aforward(**kwargs)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """As `Predict`, with decoding, format and reasoning."""
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        kept = {name: value for name, value in self.config.items() if isinstance(value, (str, int, float, bool))}
        state["config"] = kept
        state[FORM] = {"format": self.stillroom_format, "reasoning": self.stillroom_reasoning}
        if self.stillroom_format or self.stillroom_reasoning:
            state["fields"] = {**state.get("fields", {}), REFUSED: {}}
        return state

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> CompiledPredict:
        """As `Predict`, with decoding and format.

        Raises:
            BadConfig: If one of the two was compiled to reason and the other was not.
        """
        rest = {name: value for name, value in state.items() if name != FORM}
        form = state.get(FORM) or {"format": None, "reasoning": False}
        if bool(form["reasoning"]) != self.stillroom_reasoning:
            raise BadConfig(
                f"reasoning of a saved predictor must be that of the one it is loaded into, got {form['reasoning']} and {self.stillroom_reasoning}",
                mend="Load it into a fresh program with stillroom.load_module.",
            )
        if "fields" in rest:
            rest["fields"] = {name: value for name, value in rest["fields"].items() if name != REFUSED}
        super().load_state(rest, allow_unsafe_lm_state=allow_unsafe_lm_state)
        if form["format"] not in (None, *FORMATS):
            raise BadConfig(f"a predictor's format must be one of {', '.join(FORMATS)}, got {form['format']!r}")
        self.stillroom_format = form["format"]
        return self
