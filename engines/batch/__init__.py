"""Batch endpoints: a file of requests, answered within a day, at about half the price."""

from .engine import BatchEngine

__all__ = ["BatchEngine"]
