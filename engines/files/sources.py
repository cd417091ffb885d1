"""What every source of model files has in common: a way to fail, and a way to report progress."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Report", "SourceError"]

Report = Callable[[int], None]
"""Told how many bytes of the model are here so far."""


class SourceError(Exception):
    """This source cannot give the model; another one may. The text is one line."""
