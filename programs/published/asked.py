"""Which of a method's calls a job asks: a preset may do without some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from stillroom.programs.plan import Demo, Plan

from .job import Job

__all__ = ["asked_calls"]


@dataclass(frozen=True)
class _Looking(Job[Any]):
    """A job that notes which calls its flow is made with."""

    seen: dict[str, None] = field(default_factory=dict)

    def plan(self, call: str, demos: Sequence[Demo] = (), role: str = "") -> Plan:
        self.seen[call] = None
        return super().plan(call, demos, role)

    @cached_property
    def digest(self) -> str:
        return ""  # the job's own would make plans of all calls


def asked_calls(job: Job[Any]) -> list[str]:
    """The calls that the flow of `job` is made with, in the order of its steps."""
    looking = _Looking(**{each.name: getattr(job, each.name) for each in fields(Job)})
    job.method.flow(looking)
    return list(looking.seen)
