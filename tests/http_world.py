"""Http engines on the endpoint of the tests."""

from __future__ import annotations

from typing import Any

from stillroom.engines.http import HttpEngine

SECRET = "sk-very-secret-0123456789"


def engine_at(endpoint: Any, **settings: Any) -> HttpEngine:
    """One that is in no mood to wait."""
    return HttpEngine(endpoint.url, "tiny", **{"backoff": 0.001, "timeout": 10.0, **settings})
