"""What tokens cost: US dollars per million, by model string.

A price is looked for in this order, and the first one found counts:

    the caller's own table                             `prices` of a task file, `prices=` of `open_engine`
    the file that STILLROOM_PRICES names               TOML
    the user's file                                    prices.toml in ~/.config/stillroom (or $XDG_CONFIG_HOME/stillroom)
    batch+...                                          the price of the same model live, less the discount for batches
    local/..., scripted/..., ollama/..., lm_studio/... nothing: they run on machines of one's own
    LiteLLM's public list                              list prices
    anything else                                      unknown: `None`, never zero
"""

from __future__ import annotations

import functools
import json
import math
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from stillroom.errors import BadConfig

__all__ = ["NO_PRICES", "Price", "PriceTable", "cost_usd", "known_prices", "no_price", "price_of", "price_table"]

FREE = frozenset({"local", "scripted", "ollama", "ollama_chat", "lm_studio"})
BESIDE = "anthropic"  # it counts tokens that its cache gave beside the input tokens, not among them
PER = 1_000_000
BATCH = "batch+"
BATCH_SHARE = 0.5  # what OpenAI, Anthropic, Google and Groq ask for batches, of the price of the same live
EXAMPLE = (
    'For example "openai/gpt-4o-mini" = [0.15, 0.60], or a table with input, output, cached, batch, date and source.'
)


@dataclass(frozen=True)
class Price:
    """The price of a model.

    Attributes:
        model: `provider/name`, with or without `@digest`.
        input: US dollars per million prompt tokens.
        output: The same per million completion tokens.
        cached: The same per million prompt tokens that the provider's cache gave; as `input` where None.
        batch: What batches cost, as a share of these prices.
        date: When this was so.
        source: Where it is written.

    Raises:
        BadConfig: If a rate is not a number >= 0, or `batch` not in 0..1.
    """

    model: str
    input: float
    output: float
    cached: float | None = None
    batch: float = BATCH_SHARE
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not all(self.model.partition("/")[::2]):
            raise BadConfig(f"a price must name its model as provider/name, got {self.model!r}", mend=EXAMPLE)
        rates = {"input": self.input, "output": self.output, "cached": 0 if self.cached is None else self.cached}
        wrong = {name: rate for name, rate in rates.items() if not _is_rate(rate)}
        if wrong:
            raise BadConfig(
                f"a price must be dollars per million tokens, numbers >= 0, got {wrong} for {self.model}", mend=EXAMPLE
            )
        if not _is_rate(self.batch) or self.batch > 1:
            raise BadConfig(
                f"the price of batches must be a share in 0..1 of the usual price, got {self.batch!r} for {self.model}"
            )

    def usd(self, tokens_in: float, tokens_out: float, cached: float = 0) -> float:
        """US dollars for so many tokens; `cached` of the prompt's are known to come from a cache."""
        if self.model.removeprefix(BATCH).startswith(f"{BESIDE}/"):
            tokens_in += cached
        cached = min(cached, tokens_in)
        rate = self.input if self.cached is None else self.cached
        return (self.input * (tokens_in - cached) + rate * cached + self.output * tokens_out) / PER

    @property
    def batched(self) -> Price:
        """The price of the same in batches."""
        return Price(
            BATCH + self.model,
            self.input * self.batch,
            self.output * self.batch,
            None if self.cached is None else self.cached * self.batch,
            1.0,
            self.date,
            f"{self.batch:.0%} of {self.model} ({self.source})" if self.source else f"{self.batch:.0%} of {self.model}",
        )


PriceTable: TypeAlias = Mapping[str, Price]
"""Prices by model."""

NO_PRICES: PriceTable = {}


def price_of(model: str, own: PriceTable = NO_PRICES) -> Price | None:
    """The price of `model` (`provider/name`, with or without `@digest`), or None where none is known.

    Raises:
        BadConfig: If a file of prices cannot be read.

    >>> price_of("local/qwen2.5-coder-1.5b@cc324af070c2").usd(1000, 1000)
    0.0
    >>> price_of("http/box:8000/qwen@live") is None
    True
    """
    name = model.rpartition("@")[0] or model
    for table in (own, *_files()):
        found = table.get(model) or table.get(name)
        if found is not None:
            return found
    if model.startswith(BATCH):
        live = price_of(model.removeprefix(BATCH), own)
        return None if live is None else live.batched
    if name.partition("/")[0] in FREE:
        return Price(name, 0.0, 0.0, source="runs on a machine of one's own")
    return _listed(name)


def cost_usd(model: str, tokens_in: float, tokens_out: float, prices: Any = None) -> float | None:
    """Price one call of `model`.

    Args:
        model: As in `Engine.model`.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        prices: What `price_table` takes; comes before all other tables.

    Returns:
        US dollars, or `None` if no price is known.

    >>> cost_usd("http/box:8000/qwen@live", 1_000_000, 500_000, {"http/box:8000/qwen": (0.5, 1.0)})
    1.0
    >>> cost_usd("batch+http/box:8000/qwen@live", 1_000_000, 500_000, {"http/box:8000/qwen": (0.5, 1.0)})
    0.5
    """
    price = price_of(model, price_table(prices))
    return None if price is None else price.usd(tokens_in, tokens_out)


def no_price(model: str) -> BadConfig:
    """The error for a budget in dollars that cannot be kept."""
    return BadConfig(
        f"a budget in dollars needs a price, got none for {model!r}",
        mend="Add it to a price table (docs/forecast.md), or limit calls or tokens.",
    )


# -- tables of one's own ----------------------------------------------------------------


def price_table(given: Any, where: str = "") -> PriceTable:
    """Read a table of prices.

    Args:
        given: None, a TOML file's path, some `Price`s, or a mapping from models to `[input, output]`, to tables with
            the fields of `Price`, or to `Price`s. `date` and `source` beside the models are those of all entries.
        where: What errors call it; its path, if it is a file.

    Raises:
        BadConfig: If it is none of these, or an entry is not a price.
    """
    if given is None:
        return NO_PRICES
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        return _read(path, _changed(path))
    if isinstance(given, Price) or not isinstance(given, (Mapping, Sequence)):
        raise BadConfig(f"prices must be a list of prices, a table by model or a path, got {given!r}", mend=EXAMPLE)
    if not isinstance(given, Mapping):
        strange = next((each for each in given if not isinstance(each, Price)), None)
        if strange is not None:
            raise BadConfig(f"a list of prices must hold stillroom.Price, got {strange!r}", mend=EXAMPLE)
        return {each.model: each for each in given}
    usual = {name: str(given[name]) for name in ("date", "source") if name in given}
    usual = {"source": where} | usual if where else usual
    return {model: _entry(model, entry, usual, where) for model, entry in given.items() if model not in usual}


def known_prices(own: PriceTable = NO_PRICES, *, listed: bool = False) -> list[Price]:
    """The prices in force that somebody wrote down: in tables of one's own and, if `listed`, in LiteLLM's list."""
    found: dict[str, Price] = {}
    for table in (own, *_files()):
        found = {**table, **found}
    if listed:
        for name, entry in _public_list().items():
            model = name if "/" in name else f"{entry.get('litellm_provider')}/{name}"
            price = found.get(model) or _listed(model)
            if price is not None:
                found[model] = price
    return sorted(found.values(), key=lambda price: price.model)


def _entry(model: str, entry: Any, usual: Mapping[str, str], where: str) -> Price:
    if isinstance(entry, Price):
        return entry
    names = {each.name for each in fields(Price)} - {"model"}
    try:
        if isinstance(entry, (list, tuple)):
            (rate_in, rate_out) = entry
            return Price(model, rate_in, rate_out, **usual)  # type: ignore[arg-type]
        if not isinstance(entry, Mapping) or entry.keys() - names:
            raise ValueError
        more = {name: str(entry[name]) for name in ("date", "source") if name in entry}
        return Price(model, **{**usual, **entry, **more})
    except (ValueError, TypeError):
        raise BadConfig(
            f"a price must be [input, output] or a table of {', '.join(sorted(names))}, got {model} = {entry!r}{_in(where)}",
            mend=EXAMPLE,
        ) from None
    except BadConfig as error:
        raise BadConfig(f"{error}{_in(where)}", mend=EXAMPLE) from None


def _in(where: str) -> str:
    return f" in {where}" if where else ""


def _files() -> Iterator[PriceTable]:
    """The tables of the user's files."""
    named = os.environ.get("STILLROOM_PRICES")
    if named:
        yield price_table(Path(named))
    usual = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "stillroom" / "prices.toml"
    changed = _changed(usual)
    if changed is not None:
        yield _read(usual, changed)


def _changed(path: Path) -> tuple[int, int] | None:
    """What tells one state of a file from another; None where there is no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: tuple[int, int] | None) -> PriceTable:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadConfig(f"a price table must be readable TOML, got {path} ({error})", mend=EXAMPLE) from error
    return price_table(entries, str(path))


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


# -- the public list --------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _listed(name: str) -> Price | None:
    """LiteLLM's entry for `provider/name`: under that name, or under the bare one with that provider."""
    provider, _, bare = name.partition("/")
    public = _public_list()
    entry: Any = public.get(name)
    if entry is None:
        candidate = public.get(bare, {})
        entry = candidate if candidate.get("litellm_provider") == provider else {}
    rate_in, rate_out = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    cached = entry.get("cache_read_input_token_cost")
    if not (_is_rate(rate_in) and _is_rate(rate_out)):
        return None
    batched = entry.get("input_cost_per_token_batches")
    share = min(1.0, batched / rate_in) if _is_rate(batched) and rate_in else BATCH_SHARE
    source = f"LiteLLM {version('litellm')}" + (f", {entry['source']}" if entry.get("source") else "")
    return Price(name, rate_in * PER, rate_out * PER, cached * PER if _is_rate(cached) else None, share, source=source)


@functools.cache
def _public_list() -> dict[str, Any]:
    """Read the list that comes with LiteLLM, as data: importing it takes seconds and asks the network."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json")
    entries: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return entries
