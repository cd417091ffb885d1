"""OpenAI-compatible endpoints."""

from .engine import HttpEngine, key_from_environment

__all__ = ["HttpEngine", "key_from_environment"]
