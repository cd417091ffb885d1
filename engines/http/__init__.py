"""OpenAI-compatible endpoints."""

from ._endpoint import Endpoint, key_from_environment
from .engine import HttpEngine

__all__ = ["Endpoint", "HttpEngine", "key_from_environment"]
