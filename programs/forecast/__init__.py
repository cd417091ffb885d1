"""Forecast before spending: what a run will take and give, from arithmetic, a probe or another run."""

from __future__ import annotations

from .arithmetic import BASIS, with_limits
from .bounds import words
from .compared import COST, Compared, compared
from .forecast import forecast, foresee, remember
from .probe import probe
from .seen import Seen, seen_in, unlike
from .standing import Standing, check_payable
from .value import Estimate, Forecast, Limit, Model, Stratum

__all__ = [
    "BASIS",
    "COST",
    "Compared",
    "Estimate",
    "Forecast",
    "Limit",
    "Model",
    "Seen",
    "Standing",
    "Stratum",
    "check_payable",
    "compared",
    "forecast",
    "foresee",
    "probe",
    "remember",
    "seen_in",
    "unlike",
    "with_limits",
    "words",
]
