"""Where text comes from: local models, HTTP endpoints, provider strings, scripts."""

from __future__ import annotations

from .batch import BatchEngine
from .bridge import as_lm, quick_adapters, unwrap
from .contract import Engine, Score
from .http import HttpEngine
from .local import LocalEngine
from .metered import Metered, call_seconds, served_version
from .open import open_engine
from .prices import Price, PriceTable, cost_usd, known_prices, price_of, price_table
from .provider import ProviderEngine
from .ray import RayEngine
from .scripted import ScriptedEngine
from .session import Session, open_session

__all__ = [
    "BatchEngine",
    "Engine",
    "HttpEngine",
    "LocalEngine",
    "Metered",
    "Price",
    "PriceTable",
    "ProviderEngine",
    "RayEngine",
    "Score",
    "ScriptedEngine",
    "Session",
    "as_lm",
    "call_seconds",
    "cost_usd",
    "known_prices",
    "open_engine",
    "open_session",
    "price_of",
    "price_table",
    "quick_adapters",
    "served_version",
    "unwrap",
]
