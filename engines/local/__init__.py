"""Models on this machine, run in this process by OpenVINO GenAI."""

from .engine import LocalEngine

__all__ = ["LocalEngine"]
