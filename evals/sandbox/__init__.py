"""Run code that nobody vouches for: separate, cut off, limited, and gone afterwards."""

from __future__ import annotations

from .limits import Killed, Limits, Ran
from .pool import Choice, Sandbox, available, open_sandbox, shared_sandbox

__all__ = ["Choice", "Killed", "Limits", "Ran", "Sandbox", "available", "open_sandbox", "shared_sandbox"]
