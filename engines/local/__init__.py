"""Models on this machine, run by OpenVINO GenAI in processes of their own."""

from .engine import LocalEngine

__all__ = ["LocalEngine"]
