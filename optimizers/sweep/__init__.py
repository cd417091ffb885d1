"""Sweeps: strategies on tasks, models, budgets and seeds, resumable and shared between machines."""

from __future__ import annotations

from .grid import Cell, Sweep, cells_of, read_sweep_toml
from .queue import Claim, Queue, State
from .table import differences, summary, table, write_table
from .worker import Engines, Found, Runner, work

__all__ = [
    "Cell",
    "Claim",
    "Engines",
    "Found",
    "Queue",
    "Runner",
    "State",
    "Sweep",
    "cells_of",
    "differences",
    "read_sweep_toml",
    "summary",
    "table",
    "work",
    "write_table",
]
