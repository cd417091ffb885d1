"""What tokens cost: US dollars per million, by model string.

local/..., scripted/..., ollama/..., ollama_chat/...   nothing
a model in the caller's own table                      as the table says
a model in LiteLLM's public list                       list price, no discounts, no cache rates
anything else                                          unknown: `None`, never zero
"""

from __future__ import annotations

import functools
import json
import math
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from stillroom.errors import BadConfig

__all__ = ["PriceTable", "cost_usd", "read_prices"]

PriceTable: TypeAlias = Mapping[str, tuple[float, float]]

FREE = frozenset({"local", "scripted", "ollama", "ollama_chat", "lm_studio"})
PER = 1_000_000


def cost_usd(model: str, tokens_in: int, tokens_out: int, prices: PriceTable | None = None) -> float | None:
    """Price one call of `model` (`provider/name`, with or without `@digest`).

    Args:
        model: As in `Engine.model`.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        prices: (input, output) US dollars per million tokens by `provider/name`; comes
            before all else, so it can price an own endpoint or a discount.

    Returns:
        US dollars, or `None` if no price is known.

    >>> cost_usd("http/box:8000/qwen@live", 1_000_000, 500_000, {"http/box:8000/qwen": (0.5, 1.0)})
    1.0
    >>> cost_usd("local/qwen2.5-coder-1.5b@cc324af070c2", 1000, 1000)
    0.0
    >>> cost_usd("http/box:8000/qwen@live", 1000, 1000) is None
    True
    """
    name = model.rpartition("@")[0] or model
    own = (prices or {}).get(model) or (prices or {}).get(name)
    rates = own or ((0.0, 0.0) if name.partition("/")[0] in FREE else _listed(name))
    if rates is None:
        return None
    return (rates[0] * tokens_in + rates[1] * tokens_out) / PER


def read_prices(path: Path | str) -> dict[str, tuple[float, float]]:
    """Read a price table: TOML lines `"provider/name" = [input, output]`, dollars per million tokens.

    Raises:
        BadConfig: If the file is not TOML or an entry is not two numbers >= 0.
    """
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadConfig(f"a price table must be readable TOML, got {path} ({error})") from error
    for name, rates in entries.items():
        if not (isinstance(rates, list) and len(rates) == 2 and all(_is_rate(rate) for rate in rates)):
            raise BadConfig(
                f"a price must be [input, output] dollars per million tokens, got {name} = {rates!r}",
                mend='For example "openai/gpt-4o-mini" = [0.15, 0.60].',
            )
    return {name: (float(rates[0]), float(rates[1])) for name, rates in entries.items()}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _listed(name: str) -> tuple[float, float] | None:
    """LiteLLM's entry for `provider/name`: under that name, or under the bare one with that provider."""
    provider, _, bare = name.partition("/")
    public = _public_list()
    entry: Any = public.get(name)
    if entry is None:
        candidate = public.get(bare, {})
        entry = candidate if candidate.get("litellm_provider") == provider else {}
    rates = [entry.get(name) for name in ("input_cost_per_token", "output_cost_per_token")]
    return (rates[0] * PER, rates[1] * PER) if all(_is_rate(rate) for rate in rates) else None


@functools.cache
def _public_list() -> dict[str, Any]:
    """Read the list that comes with LiteLLM, as data: importing it takes seconds and asks the network."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json")
    entries: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return entries
