"""The local engine under load, on the real 135M model: who is there does not change what is said."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest
from contracts.engine_contract import ask
from dspy.lm15 import Request, Response
from real_local import fresh, model_file

from stillroom.engines.local import LocalEngine
from stillroom.engines.local._batch import FLOOR
from stillroom.engines.local._pipeline import OpenVinoPipeline, PipelineSettings
from stillroom.engines.local._worker import Asking
from stillroom.errors import EngineError, EngineRefused

pytestmark = pytest.mark.model

RULE = "Write plainly, with words that everybody knows, and never use more than one sentence at a time. "
SYSTEMS = (None, RULE, RULE * 6, "Keep to what you know. " + RULE * 6, RULE * 30)
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "why": {"type": "string"}},
    "required": ["colour", "why"],
    "additionalProperties": False,
}
CONSTRAINTS: tuple[dict[str, Any], ...] = (
    {},
    {"extensions": {"regex": "[a-z]{3,9}( [a-z]{3,9}){1,3}"}},
    {"response_format": {"type": "json_schema", "schema": SCHEMA}},
)


def mixed(number: int, longest: int = 11) -> Request:
    """Request `number` of a mixture of prefixes, lengths, constraints, sampling and seeds."""
    words = " and" * (number % 37)  # every place within a block of the cache
    config: dict[str, Any] = {"max_tokens": 1 + number % longest, "seed": number, "logprobs": 0}
    config |= {"temperature": 0.9} if number % 2 else {}
    request = ask(f"Say something about number {number}{words}", **config, **CONSTRAINTS[number % 3])
    return replace(request, system=SYSTEMS[number % len(SYSTEMS)])


def said(answer: Response | EngineError) -> tuple[Any, ...]:
    """All there is of an answer, to the last bit of its log-probabilities."""
    assert isinstance(answer, Response), answer
    logprobs = tuple((token.token_id, token.logprob) for token in answer.logprobs or ())
    return answer.text, answer.finish_reason, answer.usage.output_tokens, logprobs


@pytest.fixture(scope="module")
def steady(shared: LocalEngine) -> LocalEngine:
    """The engine, on a processor where the library's kernels do not depend on the width of a batch from `FLOOR` on."""
    made_of = PipelineSettings(shared._model.folder, shared._words.ends, 1, 1000, 64)
    bare = OpenVinoPipeline(made_of, shared._words.tokenizer)
    request = shared._generation(ask("Tell me about the sea.", max_tokens=8, logprobs=0))
    assert isinstance(request, Asking)
    found = set()
    for width in (FLOOR, FLOOR + 1, 3 * FLOOR):
        handles = [bare.add(request.ids, request.decoding, "answer") for _ in range(width)]
        while any(handle.output() is None for handle in handles[1:]):
            bare.step()
        output = handles[0].output()
        assert output is not None
        found.add((output.ids, output.logprobs))
    if len(found) > 1:
        pytest.skip("the kernels of this processor depend on the width of the batch: equal answers are not promised")
    return shared


def test_an_answer_does_not_depend_on_who_else_is_there(steady: LocalEngine) -> None:
    """One by one, all at once, and shuffled among others in an engine whose cache is empty: equal to the last bit."""
    numbers = list(range(60))
    together = [said(answer) for answer in steady.complete_many([mixed(number) for number in numbers])]
    alone = [said(steady.complete(mixed(number))) for number in numbers[::3]]
    assert alone == together[::3]
    random.Random(3).shuffle(numbers)
    other = fresh(max_concurrency=16)
    requests = [request for number in numbers for request in (mixed(number), mixed(1000 + number))]
    again = [said(answer) for answer in other.complete_many(requests)][::2]
    other.close()
    assert [again[numbers.index(number)] for number in range(60)] == together


def test_a_repeated_prompt_says_the_same_whatever_its_length(steady: LocalEngine) -> None:
    """The second time it is found in the cache, all but a piece of every size from one token on."""
    requests = [ask("Say it again" + " and" * more, max_tokens=1, logprobs=0) for more in range(34)]
    first = [said(answer) for answer in steady.complete_many(requests)]
    assert [said(answer) for answer in steady.complete_many(requests)] == first
    assert [said(steady.complete(request)) for request in requests[::5]] == first[::5]


def test_two_thousand_callers_at_once(steady: LocalEngine) -> None:
    """Threads, an event loop and futures, mixed, a sixth of them cancelled midway: the others get their own answers."""
    requests = [mixed(number, 4) for number in range(48)]
    expected = [said(answer) for answer in steady.complete_many(requests)]
    rng = random.Random(5)
    plan = [rng.randrange(len(requests)) for _ in range(2100)]

    def by_futures(numbers: Sequence[int]) -> tuple[int, list[tuple[int, Any]]]:
        futures = [steady.submit(requests[number]) for number in numbers]
        futures[3].result()  # some are in the batch by now
        cancelled = sum(future.cancel() for future in futures[::2])
        assert not wait(futures).not_done
        return cancelled, [(n, f.result()) for n, f in zip(numbers, futures, strict=True) if not f.cancelled()]

    async def by_loop(numbers: Sequence[int]) -> list[tuple[int, Any]]:
        answers = await asyncio.gather(*(steady.acomplete(requests[number]) for number in numbers))
        return list(zip(numbers, answers, strict=True))

    with ThreadPoolExecutor(2 + 100) as pool:
        some = pool.submit(by_futures, plan[:700])
        loop = pool.submit(lambda: asyncio.run(by_loop(plan[700:1400])))
        threads = list(pool.map(lambda number: (number, steady.complete(requests[number])), plan[1400:]))
        cancelled, kept = some.result()
        answers = [*kept, *loop.result(), *threads]
    assert cancelled > 100
    assert len(answers) == 2100 - cancelled
    assert [number for number, answer in answers if said(answer) != expected[number]] == []


def test_a_broken_constraint_under_load_costs_nobody_else(shared: LocalEngine) -> None:
    """Every fifth of a full batch; the batch is not emptied for them."""
    requests = [ask(f"Say {n}.", extensions={"regex": "[0-9]{2}" if n % 5 else f"(never {n}"}) for n in range(100)]
    answers = shared.complete_many(requests)
    assert all(isinstance(answer, EngineRefused) for answer in answers[::5])
    assert all(len(said(answer)[0]) == 2 for n, answer in enumerate(answers) if n % 5)


def test_closing_under_load_ends_every_future() -> None:
    """Those in the batch, those in the queue and those on their way."""
    engine = fresh()
    futures: list[Future[Any]] = [engine.submit(mixed(number)) for number in range(300)]
    futures[0].result()
    with ThreadPoolExecutor(8) as pool:
        late = [pool.submit(engine.submit, mixed(number)) for number in range(50)]
        engine.close()
        futures += [each.result() for each in late]
    assert not wait(futures, timeout=60).not_done
    failed = [future.exception() for future in futures if future.exception() is not None]
    assert failed
    assert all(isinstance(error, EngineError) and "closed" in str(error) for error in failed)


def test_a_killed_process_is_an_engine_error_and_is_begun_again(shared: LocalEngine) -> None:
    """What the system does when memory runs out is neither a hang nor a wrong answer."""
    engine = fresh()
    engine.complete(ask("hi", max_tokens=1))
    pid = engine._workers["texts"]._process._popen.pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGINT)  # Ctrl-C reaches it too, and is not its affair
    assert engine.complete(ask("hi", max_tokens=1)).text is not None
    future = engine.submit(ask("Tell a long story.", max_tokens=2000))
    os.kill(pid, signal.SIGKILL)
    assert isinstance(future.exception(timeout=60), EngineError)
    assert engine.complete(ask("hi", max_tokens=1)).text is not None
    engine.close()


ROUNDS = """
    import json
    from pathlib import Path
    from dspy.lm15 import Config, Message, Request
    from stillroom.engines.files import find
    from stillroom.engines.local import LocalEngine

    def resident(pid):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024

    def request(number):
        config = Config(max_tokens=2, temperature=0.0)
        return Request(model="m", messages=(Message.user(f"Say {number} " + "and " * (number % 40)),), config=config)

    file = find("smollm2-135m")
    engine = LocalEngine(file.path, name=file.name, digest=file.digest, cache_gb=1)
    found = []
    for turn in range(4):
        futures = [engine.submit(request(turn * 10_000 + number)) for number in range(400)]
        for future in futures[::4]:
            future.cancel()
        for future in futures:
            future.cancelled() or future.result()
        found.append((resident("self"), resident(engine._workers["texts"]._process._popen.pid)))
    engine.close()
    print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_from_round_to_round() -> None:
    """Four times four hundred requests that share nothing, a quarter cancelled: caller and engine stay as large as after the second round."""
    model_file()
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ROUNDS)], stdout=subprocess.PIPE, text=True, timeout=600, check=True
    )
    rounds = json.loads(ended.stdout)
    for place, bound in ((0, 64), (1, 128)):  # megabytes
        sizes = [sizes[place] for sizes in rounds]
        assert max(sizes[2:]) - sizes[1] < bound, sizes
