"""The batch of the local engine on a pipeline made of lists, for tests that count steps and not seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pytest

from stillroom.engines.local._batch import FLOOR, Batch, Failure, Job, Output
from stillroom.engines.local._prefixes import BLOCK, Prompt, chain

WIDTH = 8


class FakeHandle:
    """Reads its prompt in one step, then says its last token and sevens, one a step."""

    def __init__(self, ids: Sequence[int], tokens: int, kind: str) -> None:
        self.ids, self.tokens, self.kind = tuple(ids), tokens, kind
        self.said: list[int] = []
        self.dropped = False

    def begun(self) -> bool:
        return bool(self.said)

    def output(self) -> Output | None:
        return Output(tuple(self.said), (-0.5,) * len(self.said), "stop") if len(self.said) >= self.tokens else None

    def cancel(self) -> None:
        self.dropped = True


class FakePipeline:
    """Keeps blocks as the library does and counts what is read.

    Attributes:
        batches: Who was in each step, company left out.
        widths: How many were in each step, company and all.
        reads: How many tokens of prompts were read for whom, in the order they came.
    """

    def __init__(self, blocks: int = 10_000) -> None:
        self.blocks = blocks
        self.cache: OrderedDict[int, None] = OrderedDict()
        self.running: list[FakeHandle] = []
        self.batches: list[list[tuple[int, ...]]] = []
        self.widths: list[int] = []
        self.reads: list[int] = []
        self.fail_with: Exception | None = None

    def add(self, ids: Sequence[int], settings: Any, kind: str) -> FakeHandle:
        if settings == "odd":
            raise RuntimeError("somewhere/config.cc:5: no such setting")
        return self._add(ids, settings or 2, kind)

    def read(self, ids: Sequence[int]) -> FakeHandle:
        assert len(ids) % BLOCK == 0, "it would leave a partly filled block"
        return self._add(ids, 1, "ahead")

    def idle(self) -> FakeHandle:
        return self._add((999, 999), 5, "idle")

    def _add(self, ids: Sequence[int], tokens: int, kind: str) -> FakeHandle:
        if kind != "idle":
            self.reads.append(self._unread(ids))
        self.running.append(FakeHandle(ids, tokens, kind))
        return self.running[-1]

    def _unread(self, ids: Sequence[int]) -> int:
        found = 0
        for link in chain(ids):
            if link not in self.cache:
                break
            found += 1
        return max(1, len(ids) - found * BLOCK)

    def step(self) -> None:
        if self.fail_with:
            raise self.fail_with
        self.running = [handle for handle in self.running if not handle.dropped and handle.output() is None]
        self.batches.append([handle.ids for handle in self.running if handle.kind != "idle"])
        self.widths.append(len(self.running))
        for handle in self.running:
            handle.said.append(7 if handle.said else handle.ids[-1])
            self._keep((*handle.ids, *handle.said[:-1]))
        assert self._needed() <= self.blocks, "somebody would have lost its place"

    def _keep(self, ids: Sequence[int]) -> None:
        for link in chain(ids):
            self.cache[link] = None
            self.cache.move_to_end(link)
        while len(self.cache) > self.blocks:
            self.cache.popitem(last=False)

    def _needed(self) -> int:
        shared = {link for handle in self.running for link in chain(handle.ids)}
        own = sum(-(-(len(handle.ids) + len(handle.said)) // BLOCK) - len(chain(handle.ids)) for handle in self.running)
        return len(shared) + own


class World:
    """A batch, its pipeline, and jobs numbered in the order they come."""

    def __init__(self, *, width: int = WIDTH, blocks: int = 10_000, floor: int = FLOOR) -> None:
        self.pipeline = FakePipeline(blocks)
        self.built = 0
        self.batch = Batch(self._build, width=width, blocks=blocks, floor=floor)
        self.answers: dict[int, Output | Failure] = {}
        self.order: list[int] = []
        self._came = 0

    def _build(self) -> FakePipeline:
        self.built += 1
        return self.pipeline

    def put(self, ids: Sequence[int], **more: Any) -> int:
        self._came += 1
        longest = {"longest": max(more["settings"], 1)} if isinstance(more.get("settings"), int) else {"longest": 2}
        self.batch.put(Job(self._came, Prompt.of(tuple(ids)), **{**longest, **more}))
        return self._came

    def turn(self) -> None:
        for number, came in self.batch.turn():
            assert number not in self.answers, "answered twice"
            self.answers[number] = came
            self.order.append(number)

    def run(self, *, most: int = 10_000) -> None:
        for _ in range(most):
            if not self.batch.busy:
                return
            self.turn()
        pytest.fail(f"not at an end after {most} turns")


def prefix(name: int, blocks: int = 4) -> list[int]:
    return [1000 + name] * (blocks * BLOCK)
