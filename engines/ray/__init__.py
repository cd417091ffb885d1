"""Any engine on the machines of a Ray cluster."""

from .engine import RayEngine

__all__ = ["RayEngine"]
