"""Calls a second through the local engine, against the raw batch of openvino_genai on the same prompts.

    python -m benchmarks.local_engine --json [--models qwen2.5-coder-1.5b smollm2-135m] [--rounds 3]

Twelve-shot classification of help-desk messages as constrained JSON, greedy. `raw_N` is the bare batch
of N: the same weights, tokens and settings, in this process, the prompt of one request read before the
others are added, and another added for each that ends. `raw_unprimed` adds all without that. `plans`
answers all by a `Plan` and is held against the widest; `module_N` is the same plan as a DSPy module and
`predict_N` a plain `dspy.Predict` with `JSONAdapter`, called from N threads; `predict_raw_N` is the bare
batch on what `dspy.Predict` sends. `to_widest` holds every way against the widest bare batch. Each
measurement has a system message of its own, so that none finds the prefix of another. The best of the
rounds counts, since other work on the machine can only slow a round down. `processor` is milliseconds
of processor time a call, of caller and engine together, the least of the rounds: other work disturbs
it less, and its ratios are what the calls a second come to where nothing else runs.

`mixed` counts, it does not time: requests of several prefixes, lengths, constraints and seeds by
threads, an event loop and futures, a part of them cancelled; each answer is compared with that of the
same request when it was alone, to the last bit of its log-probabilities.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks._result import Goal, emit

THREADS = (32, 64)
RATIO = 0.9
LABELS = ("hardware", "password", "access", "printer", "mail", "network", "software", "security", "mobile", "order", "data")  # fmt: skip

DEMOS = (
    ("My screen stays black after I press the power button.", "hardware"),
    ("I cannot remember the password for my mailbox.", "password"),
    ("Please give the new colleague access to the sales folder.", "access"),
    ("The printer on the second floor prints only half of each page.", "printer"),
    ("Outlook says that my mailbox is full and sends nothing.", "mail"),
    ("The video call freezes every few minutes at home.", "network"),
    ("I need a licence for the drawing program by Friday.", "software"),
    ("Somebody called and asked for my login, I think it was a fraud.", "security"),
    ("My phone does not get company mail any more since the update.", "mobile"),
    ("When will the notebooks that we ordered in March arrive?", "order"),
    ("The invoice program shows last year's prices to everyone.", "data"),
    ("Can I get a second monitor for the desk by the window?", "hardware"),
)

SUBJECTS = ("My laptop", "The scanner in room 12", "The shared calendar", "My headset", "The wireless network",
            "The payroll program", "My new badge", "The backup of our team")  # fmt: skip
TROUBLES = ("stopped working this morning.", "is very slow today.", "asks for a password I never had.",
            "shows an error I cannot read.", "was set up for somebody else.", "has to be moved next week.",
            "worked yesterday and does nothing now.", "sends me a warning every hour.")  # fmt: skip
MESSAGES = tuple(f"{subject} {trouble}" for subject, trouble in itertools.product(SUBJECTS, TROUBLES))

RULES = (
    "You sort messages to the help desk of a company. Read the message and name the team that has to act first: "
    f"{', '.join(LABELS)}. If two fit, choose the one that comes first in the list."
)

serial = itertools.count(1)


def main() -> None:
    """Measure each model and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the result is always JSON")
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "qwen2.5-coder-1.5b"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=1000, help="requests of the mixed load")
    options = parser.parse_args()
    started = time.monotonic()
    figures: dict[str, dict[str, Any]] = {}
    goals: list[Goal] = []
    for name in present(options.models):
        figures[name] = measured = measure(name, options.rounds, options.mixed)
        goals += [Goal(f"{name}: {ratio}", value, RATIO) for ratio, value in measured["ratios"].items()]
        goals.append(Goal(f"{name}: primed / unprimed", measured["priming_gain"], 3.0))
        goals += [Goal(f"{name}: mixed load, {what}", measured["mixed"][what], 0, "<=") for what in ("wrong", "lost")]
    emit(figures, goals, started)


def present(names: Sequence[str]) -> list[str]:
    """The models whose files are here."""
    from stillroom.engines.files import find
    from stillroom.errors import ModelMissing

    found = []
    for name in names:
        try:
            find(name)
            found.append(name)
        except ModelMissing as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def measure(name: str, rounds: int, mixed: int) -> dict[str, Any]:
    """Measure one model: calls a second, by way of calling."""
    from stillroom.engines.files import find
    from stillroom.engines.local import LocalEngine

    file = find(name)
    small = file.path.stat().st_size < 5e8
    many, few = (MESSAGES, MESSAGES[:32]) if small else (MESSAGES[:32], MESSAGES[:6])
    began = time.perf_counter()
    engine = LocalEngine(file.path, name=file.name, digest=file.digest)
    opened = time.perf_counter()
    run_plan(engine, next(serial), MESSAGES[:1])
    loaded = time.perf_counter()
    raw = Raw(engine)
    ways: dict[str, Callable[[Sequence[str]], Cost]] = {"plans": partial(cost, engine, run_plan)}
    for threads in [threads for threads in THREADS if threads <= len(many)]:
        ways |= {
            f"raw_{threads}": partial(raw.cost, rendered, width=threads),
            f"module_{threads}": partial(cost, engine, partial(run_module, threads=threads)),
            f"predict_raw_{threads}": partial(raw.cost, predicted, width=threads),
            f"predict_{threads}": partial(cost, engine, partial(run_predict, threads=threads)),
        }
    best = {way: Cost(math.inf, math.inf) for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            found = run(many)
            best[way] = Cost(min(best[way].seconds, found.seconds), min(best[way].processor, found.processor))
            print(f"{name} {way}: {1 / best[way].seconds:.2f} calls/s", file=sys.stderr)
    unprimed = raw.cost(rendered, few, primed=False)
    counts = mixed_load(engine, mixed if small else mixed // 10)
    engine.close()
    return {way: round(1 / each.seconds, 2) for way, each in best.items()} | {
        "raw_unprimed": round(1 / unprimed.seconds, 2),
        "processor": {way: round(each.processor * 1e3, 2) for way, each in best.items()},
        "prompt_tokens": len(engine._ids(rendered(engine, 0, MESSAGES[:1])[0])),
        "predict_prompt_tokens": len(engine._ids(predicted(engine, 0, MESSAGES[:1])[0])),
        "prepare_or_open_seconds": round(opened - began, 2),
        "load_and_first_answer_seconds": round(loaded - opened, 2),
        "ratios": ratios({way: each.seconds for way, each in best.items()}),
        "to_widest": ratios({way: each.seconds for way, each in best.items()}, widest=True),
        "processor_ratios": ratios({way: each.processor for way, each in best.items()}),
        "priming_gain": round(unprimed.seconds / best["plans"].seconds, 2),
        "mixed": counts,
    }


@dataclass(frozen=True)
class Cost:
    """Seconds a call, by the clock and of processor time."""

    seconds: float
    processor: float


def ratios(costs: dict[str, float], *, widest: bool = False) -> dict[str, float]:
    """How much each way has of the speed of the bare batch on the same prompts, as wide as it is or the widest."""
    most = max(way for way in costs if way.startswith("raw")).removeprefix("raw_")
    found = {}
    for way, value in costs.items():
        kind, _, threads = way.partition("_")
        if kind in {"plans", "module", "predict"} and "raw" not in way:
            bare = f"{'predict_' * (kind == 'predict')}raw_{most if widest or not threads else threads}"
            found[f"{way} / {bare}"] = round(costs[bare] / value, 3)
    return found


def cost(engine: Any, run: Callable[..., None], messages: Sequence[str]) -> Cost:
    """What a call costs on average."""
    began, worked = time.perf_counter(), processor(engine)
    run(engine, next(serial), messages)
    return Cost((time.perf_counter() - began) / len(messages), (processor(engine) - worked) / len(messages))


def processor(engine: Any) -> float:
    """Processor time of this process and of the engine's, in seconds; of this one alone where there is no /proc."""
    stat = Path(f"/proc/{engine._workers['texts']._process._popen.pid}/stat")
    if not stat.exists():
        return time.process_time()
    fields = stat.read_text("utf-8").rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- Plans and DSPy -------------------------------------------------------------------


def make_plan(engine: Any, label: int) -> Any:
    """Twelve demos; `label` keeps its prefix apart from other measurements."""
    from stillroom.programs import Decoding, Demo, Plan
    from stillroom.signatures import Field, Shape

    team = {"type": "string", "enum": list(LABELS)}
    shape = Shape("Sort", RULES, (Field("message", {"type": "string"}),), (Field("team", team),))
    demos = tuple(Demo(str(n), {"message": shown}, {"team": answer}) for n, (shown, answer) in enumerate(DEMOS))
    return Plan(shape, engine.model, f"Desk {label}. {RULES}", demos, decoding=Decoding(max_tokens=24))


def rendered(engine: Any, label: int, messages: Sequence[str]) -> list[Any]:
    """What a plan sends."""
    plan = make_plan(engine, label)
    return [plan.render({"message": message}) for message in messages]


def run_plan(engine: Any, label: int, messages: Sequence[str]) -> None:
    """All messages by a plan, in one call."""
    from stillroom.programs import answer_many

    for answer in answer_many(make_plan(engine, label), engine, [{"message": message} for message in messages]):
        if isinstance(answer, Exception):
            raise answer


def run_module(engine: Any, label: int, messages: Sequence[str], threads: int) -> None:
    """Each message by the plan as a DSPy module, from many threads."""
    from stillroom.engines import as_lm
    from stillroom.programs.module import PlanModule

    module = PlanModule(make_plan(engine, label), as_lm(engine))
    _from_threads(threads, lambda message: module(message=message), messages)


def run_predict(engine: Any, label: int, messages: Sequence[str], threads: int) -> None:
    """Each message by a plain `dspy.Predict`, from many threads."""
    import dspy

    from stillroom.engines import as_lm, quick_adapters

    predict, adapter = make_predict(label), dspy.JSONAdapter()
    predict.set_lm(as_lm(engine, max_tokens=24, temperature=0.0))

    def call(message: str) -> None:
        with dspy.context(adapter=adapter):
            predict(message=message)

    with quick_adapters():
        _from_threads(threads, call, messages)


def make_predict(label: int) -> Any:
    """The same task as DSPy declares it."""
    import dspy

    class Sort(dspy.Signature):
        message: str = dspy.InputField()
        team: Literal[LABELS] = dspy.OutputField()  # type: ignore[valid-type]

    predict = dspy.Predict(Sort.with_instructions(f"Desk {label}. {RULES}"))
    predict.demos = [dspy.Example(message=shown, team=answer).with_inputs("message") for shown, answer in DEMOS]
    return predict


def predicted(engine: Any, label: int, messages: Sequence[str]) -> list[Any]:
    """What `dspy.Predict` sends."""
    import dspy

    from stillroom.engines import ScriptedEngine, as_lm

    sent: list[Any] = []

    def answer(request: Any) -> str:
        sent.append(request)
        return '{"team": "mail"}'

    predict = make_predict(label)
    predict.set_lm(as_lm(ScriptedEngine(answer), max_tokens=24, temperature=0.0))
    with dspy.context(adapter=dspy.JSONAdapter()):
        for message in messages:
            predict(message=message)
    return sent


def _from_threads(threads: int, call: Callable[[str], Any], messages: Sequence[str]) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, messages))


# -- the bare batch -------------------------------------------------------------------


class Raw:
    """A bare ContinuousBatchingPipeline with the engine's weights, tokens and settings."""

    def __init__(self, engine: Any) -> None:
        from stillroom.engines.local._pipeline import OpenVinoPipeline, PipelineSettings

        words, width = engine._words, len(MESSAGES)
        settings = PipelineSettings(engine._model.folder, words.ends, engine._gigabytes, engine._blocks, width)
        self._engine, self._pipeline = engine, OpenVinoPipeline(settings, words.tokenizer)

    def cost(
        self,
        make: Callable[[Any, int, Sequence[str]], list[Any]],
        messages: Sequence[str],
        *,
        width: int = len(MESSAGES),
        primed: bool = True,
    ) -> Cost:
        """What a call costs on average, from chat messages to texts, with at most `width` in the batch."""
        requests = make(self._engine, next(serial), messages)
        began, worked = time.perf_counter(), time.process_time()
        asked = [self._engine._generation(request) for request in requests]
        if primed:
            first = self._pipeline.read(asked[0].ids)
            while first.output() is None:
                self._pipeline.step()
        for output in self._outputs(asked, width):
            self._engine._words.decode(output.ids)
        return Cost((time.perf_counter() - began) / len(requests), (time.process_time() - worked) / len(requests))

    def _outputs(self, asked: Sequence[Any], width: int) -> list[Any]:
        left, running, outputs = list(asked), [], []
        while left or running:
            while left and len(running) < width:
                each = left.pop(0)
                running.append(self._pipeline.add(each.ids, each.decoding, "answer"))
            self._pipeline.step()
            came = [(handle, handle.output()) for handle in running]
            running = [handle for handle, output in came if output is None]
            outputs += [output for _, output in came if output is not None]
        return outputs


# -- mixed load -----------------------------------------------------------------------

KINDS = 40  # different requests


def mixed_load(engine: Any, count: int) -> dict[str, int]:
    """Count answers that were lost or were not what the same request gets alone."""
    requests = [mixed_request(number) for number in range(KINDS)]
    alone = [essence(engine.complete(request)) for request in requests]
    rng = random.Random(5)
    plan = [rng.randrange(KINDS) for _ in range(count)]
    third = count // 3

    async def by_loop(numbers: Sequence[int]) -> list[Any]:
        return list(await asyncio.gather(*(engine.acomplete(requests[number]) for number in numbers)))

    with ThreadPoolExecutor(34) as pool:
        loop = pool.submit(lambda: asyncio.run(by_loop(plan[:third])))
        threads = [pool.submit(engine.complete, requests[number]) for number in plan[third : 2 * third]]
        futures = [engine.submit(requests[number]) for number in plan[2 * third :]]
        futures[0].result()
        cancelled = sum(future.cancel() for future in futures[::3])
        pending = wait([*threads, *futures, loop], timeout=600).not_done
        answers = [*loop.result(), *(future.result() for future in threads)]
        answers += [None if future.cancelled() else future.result() for future in futures]
    wrong = sum(
        answer is not None and essence(answer) != alone[number] for number, answer in zip(plan, answers, strict=True)
    )
    return {"asked": count, "different": KINDS, "cancelled": cancelled, "wrong": wrong, "lost": len(pending)}


def mixed_request(number: int) -> Any:
    """Request `number` of a mixture of prefixes, lengths, constraints, sampling and seeds."""
    from dspy.lm15 import Config, Message, Request

    schema = {
        "type": "object",
        "properties": {"team": {"enum": list(LABELS)}, "why": {"type": "string"}},
        "required": ["team", "why"],
        "additionalProperties": False,
    }
    constraints: tuple[dict[str, Any], ...] = (
        {},
        {"extensions": {"regex": "[a-z]{3,9}( [a-z]{3,9}){1,3}"}},
        {"response_format": {"type": "json_schema", "schema": schema}},
    )
    config = Config(
        max_tokens=1 + number % 7,
        temperature=0.9 if number % 2 else 0.0,
        seed=number,
        logprobs=0,
        **constraints[number % 3],
    )
    system = (None, RULES, RULES * 3, f"Say it plainly. {RULES * 2}")[number % 4]
    asked = MESSAGES[number] + " Please." * (number % 33)
    return Request(model="local", messages=(Message.user(asked),), system=system, config=config)


def essence(answer: Any) -> tuple[Any, ...]:
    """All there is of an answer but its id."""
    logprobs = tuple((token.token_id, token.logprob) for token in answer.logprobs or ())
    return answer.text, answer.finish_reason, answer.usage.output_tokens, logprobs


if __name__ == "__main__":
    main()
