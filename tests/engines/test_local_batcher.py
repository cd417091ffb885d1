"""The worker and its batch, on a pipeline made of lists."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest

from stillroom.engines.local._batcher import Batcher, Job, Output
from stillroom.engines.local._prefixes import BLOCK, Prompt
from stillroom.errors import BadConfig, EngineError, EngineRefused

BAD = "a grammar that does not compile"


class FakeHandle:
    """One request: its prompt is read in the first step, its answer is there after the second."""

    def __init__(self, ids: Sequence[int], settings: Any) -> None:
        self.ids, self.settings, self.steps, self.dropped = tuple(ids), settings, 0, False

    def begun(self) -> bool:
        return self.steps > 0

    def output(self) -> Output | None:
        if self.dropped:
            return Output((), (), "full")
        return Output((*self.ids[-1:], 7), (), "stop") if self.steps >= 2 else None

    def cancel(self) -> None:
        self.dropped = True


class FakePipeline:
    """Ends each request after two steps; notes who was in the batch with whom."""

    def __init__(self) -> None:
        self.running: list[FakeHandle] = []
        self.batches: list[list[tuple[int, ...]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail_with: Exception | None = None

    def add(self, number: int, ids: Sequence[int], settings: Any) -> FakeHandle:
        if settings == "odd":
            raise RuntimeError("no such setting")
        self.running.append(FakeHandle(ids, settings))
        return self.running[-1]

    def step(self) -> None:
        assert self.gate.wait(10)
        self.running = [handle for handle in self.running if not handle.dropped and handle.output() is None]
        if self.fail_with:
            raise self.fail_with
        if any(handle.settings == BAD for handle in self.running):
            raise RuntimeError("somewhere/grammar.cc:5: rule is not defined")
        self.batches.append([handle.ids for handle in self.running])
        for handle in self.running:
            handle.steps += 1


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def batcher(pipeline: FakePipeline) -> Iterator[Batcher]:
    batcher = Batcher(lambda: pipeline, width=4, blocks=1000, name="fake")
    yield batcher
    batcher.close()


def job(
    *ids: int, settings: Any = None, constraint: object = None, answer: Callable[[Output], Any] | None = None
) -> Job:
    return Job(Prompt.of(ids), settings, answer or (lambda output: output.ids[0]), constraint=constraint)


def results(jobs: Sequence[Job]) -> list[Any]:
    return [each.future.result(timeout=10) for each in jobs]


def test_every_job_gets_its_own_answer(batcher: Batcher) -> None:
    """More jobs than places; each future ends with what its request gave."""
    jobs = [job(number) for number in range(30)]
    batcher.put(jobs)
    assert results(jobs) == list(range(30))


def test_jobs_put_together_run_together(batcher: Batcher, pipeline: FakePipeline) -> None:
    """The batch is as wide as allowed and no wider."""
    jobs = [job(number) for number in range(6)]
    batcher.put(jobs)
    results(jobs)
    assert max(len(batch) for batch in pipeline.batches) == 4
    assert len(pipeline.batches[0]) == 4


def test_jobs_from_many_threads_are_gathered(batcher: Batcher, pipeline: FakePipeline) -> None:
    """Those which come while a step runs join at the next."""
    pipeline.gate.clear()
    jobs = [job(number) for number in range(4)]
    threads = [threading.Thread(target=batcher.put, args=([each],)) for each in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipeline.gate.set()
    assert results(jobs) == [0, 1, 2, 3]
    assert max(len(batch) for batch in pipeline.batches) >= 3


def test_a_shared_prefix_is_read_by_one_before_the_others_come(batcher: Batcher, pipeline: FakePipeline) -> None:
    """Priming follows from what is in the queue."""
    shared = list(range(3 * BLOCK))
    jobs = [job(*shared, 1000 + number) for number in range(4)]
    batcher.put(jobs)
    assert results(jobs) == [1000, 1001, 1002, 1003]
    assert [len(batch) for batch in pipeline.batches][:2] == [1, 4]


def test_a_cancelled_job_is_dropped_wherever_it_is(batcher: Batcher, pipeline: FakePipeline) -> None:
    """Queued or running: it ends, and its neighbours do not notice."""
    pipeline.gate.clear()
    running, queued, kept = job(1), job(2), job(3)
    batcher.put([running])
    batcher.put([queued, kept])
    assert running.future.cancel()
    assert queued.future.cancel()
    pipeline.gate.set()
    assert kept.future.result(timeout=10) == 3
    with pytest.raises(CancelledError):
        running.future.result()
    assert all((2,) not in batch for batch in pipeline.batches)


def test_a_new_constraint_is_tried_alone(batcher: Batcher, pipeline: FakePipeline) -> None:
    """Nobody shares the step in which a grammar might turn out broken."""
    jobs = [job(1), job(2, constraint="grammar"), job(3), job(4, constraint="grammar")]
    batcher.put(jobs)
    assert results(jobs) == [1, 2, 3, 4]
    first = next(batch for batch in pipeline.batches if (2,) in batch)
    assert first == [(2,)]
    assert any((3,) in batch and (4,) in batch for batch in pipeline.batches)  # the second time it is known


def test_a_broken_constraint_is_refused_and_costs_nobody_else(batcher: Batcher) -> None:
    """The message says what the grammar compiler said, without its source file."""
    jobs = [job(1), job(2, settings=BAD, constraint=BAD), job(3)]
    batcher.put(jobs)
    with pytest.raises(EngineRefused, match="rule is not defined") as caught:
        jobs[1].future.result(timeout=10)
    assert "grammar.cc" not in str(caught.value)
    assert [jobs[0].future.result(timeout=10), jobs[2].future.result(timeout=10)] == [1, 3]


def test_a_setting_the_pipeline_refuses_is_the_request_s_own_affair(batcher: Batcher) -> None:
    """Validation errors reach one future."""
    jobs = [job(1), job(2, settings="odd"), job(3)]
    batcher.put(jobs)
    with pytest.raises(EngineRefused, match="no such setting"):
        jobs[1].future.result(timeout=10)
    assert [jobs[0].future.result(timeout=10), jobs[2].future.result(timeout=10)] == [1, 3]


def test_an_answer_that_raises_reaches_its_future_only(batcher: Batcher) -> None:
    """What the caller's code does with the output cannot stop the worker."""

    def wrong(output: Output) -> Any:
        raise EngineError("cannot be read")

    jobs = [job(1, answer=wrong), job(2)]
    batcher.put(jobs)
    with pytest.raises(EngineError, match="cannot be read"):
        jobs[0].future.result(timeout=10)
    assert jobs[1].future.result(timeout=10) == 2


def test_a_failing_pipeline_is_made_anew(pipeline: FakePipeline) -> None:
    """What was in the batch fails as infrastructure; what comes later is answered."""
    made: list[FakePipeline] = []

    def build() -> FakePipeline:
        made.append(pipeline if not made else FakePipeline())
        return made[-1]

    pipeline.fail_with = RuntimeError("out of memory")
    batcher = Batcher(build, width=4, blocks=100, name="fake")
    first, second = job(1), job(2)
    batcher.put([first])
    with pytest.raises(EngineError, match="out of memory"):
        first.future.result(timeout=10)
    batcher.put([second])
    assert second.future.result(timeout=10) == 2
    assert len(made) == 2
    batcher.close()


def test_a_model_that_cannot_be_loaded_refuses_everything() -> None:
    """Nobody waits for a pipeline that will never be there."""

    def build() -> FakePipeline:
        raise BadConfig("no such device")

    batcher = Batcher(build, width=4, blocks=100, name="fake")
    jobs = [job(number) for number in range(6)]
    batcher.put(jobs)
    for each in jobs:
        with pytest.raises(EngineRefused, match="no such device"):
            each.future.result(timeout=10)
    batcher.close()


def test_closing_fails_what_has_not_ended(batcher: Batcher, pipeline: FakePipeline) -> None:
    """Pending futures end with an engine error, and later jobs are turned away."""
    pipeline.gate.clear()
    jobs = [job(number) for number in range(9)]
    batcher.put(jobs)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    pipeline.gate.set()
    closing.join(timeout=10)
    assert not closing.is_alive()
    outcomes = [each.future.exception(timeout=10) for each in jobs]
    assert any(isinstance(outcome, EngineError) for outcome in outcomes)
    with pytest.raises(EngineError, match="closed"):
        batcher.put([job(1)])
