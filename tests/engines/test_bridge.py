"""Engines inside DSPy: every module and adapter, and no error swallowed on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import dspy
import pytest
from contracts.engine_contract import ask as request_for
from dspy.lm15 import Request

from stillroom.engines.bridge import as_lm, unwrap
from stillroom.engines.http import HttpEngine
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, EngineRefused, StillroomError

CHAT = "[[ ## reasoning ## ]]\nthink\n\n[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
JSON = '{"reasoning": "think", "answer": "Paris"}'
XML = "<reasoning>think</reasoning>\n<answer>Paris</answer>"
ADAPTERS = [(dspy.ChatAdapter, CHAT), (dspy.JSONAdapter, JSON), (dspy.XMLAdapter, XML)]


class Capital(dspy.Signature):
    """Name the capital."""

    country: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Recorded(ScriptedEngine):
    """Keeps what it was asked."""

    def __init__(self, answer: Any, **settings: Any) -> None:
        super().__init__(answer, **settings)
        self.requests: list[Request] = []

    def submit(self, request: Request) -> Any:
        self.requests.append(request)
        return super().submit(request)

    async def acomplete(self, request: Request) -> Any:
        self.requests.append(request)
        return await super().acomplete(request)


@pytest.mark.parametrize(("adapter", "text"), ADAPTERS)
@pytest.mark.parametrize("module", [dspy.Predict, dspy.ChainOfThought])
def test_modules_answer_under_every_adapter(adapter: Any, text: str, module: Any) -> None:
    """Sync and async give the same prediction."""
    engine = ScriptedEngine(lambda request: text)
    with dspy.context(lm=as_lm(engine), adapter=adapter()):
        assert module(Capital)(country="France").answer == "Paris"
        assert asyncio.run(module(Capital).acall(country="France")).answer == "Paris"
    assert engine.served == 2


def test_json_adapter_sends_its_schema() -> None:
    """Declared support is what DSPy asks for; without it there is JSON mode."""
    for supported, kind in ((True, "json_schema"), (False, "json_object")):
        engine = Recorded([JSON], supports_response_schema=supported)
        with dspy.context(lm=as_lm(engine), adapter=dspy.JSONAdapter()):
            dspy.ChainOfThought(Capital)(country="France")
        assert engine.requests[0].config.response_format["type"] == kind


def step(thought: str, tool: str, args: str) -> str:
    return f"[[ ## next_thought ## ]]\n{thought}\n[[ ## next_tool_name ## ]]\n{tool}\n[[ ## next_tool_args ## ]]\n{args}\n[[ ## completed ## ]]"


def test_react_uses_its_tools() -> None:
    """An agent's loop: tool, finish, answer; sync and async."""

    def lookup(country: str) -> str:
        return f"{country}: Paris"

    script = [step("look", "lookup", '{"country": "France"}'), step("done", "finish", "{}"), CHAT]
    for run in (lambda agent: agent(country="France"), lambda agent: asyncio.run(agent.acall(country="France"))):
        with dspy.context(lm=as_lm(ScriptedEngine(script)), adapter=dspy.ChatAdapter()):
            prediction = run(dspy.ReAct(Capital, tools=[lookup]))
        assert prediction.answer == "Paris"
        assert prediction.trajectory["observation_0"] == "France: Paris"


def test_native_tools_reach_an_http_endpoint(endpoint: Any) -> None:
    """Function calling goes out as tools and comes back as tool calls."""
    call = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"country": "France"}'}}
    endpoint.say = lambda body: {"content": None, "tool_calls": [call]} if body.get("tools") else {"content": JSON}

    def lookup(country: str) -> str:
        """Look it up."""
        return country

    class Act(dspy.Signature):
        question: str = dspy.InputField()
        tools: list[dspy.Tool] = dspy.InputField()
        calls: dspy.ToolCalls = dspy.OutputField()

    engine = HttpEngine(endpoint.url, "tiny")
    with dspy.context(lm=as_lm(engine), adapter=dspy.JSONAdapter()):
        prediction = dspy.Predict(Act)(question="capital of France?", tools=[dspy.Tool(lookup)])
    assert [(c.name, c.args) for c in prediction.calls.tool_calls] == [("lookup", {"country": "France"})]
    engine.close()


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter])
@pytest.mark.parametrize("error", [BudgetExceeded("full"), EngineBusy("later"), EngineRefused("no")])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_errors_come_through_and_cost_one_call(adapter: Any, error: StillroomError, asynchronous: bool) -> None:
    """No adapter falls back on them, nobody retries, and the original can be had again."""
    engine = Recorded(lambda request: error)
    module = dspy.ChainOfThought(Capital)
    ask = (lambda: asyncio.run(module.acall(country="France"))) if asynchronous else (lambda: module(country="France"))
    with dspy.context(lm=as_lm(engine), adapter=adapter()), pytest.raises(dspy.LMError) as caught:
        ask()
    assert unwrap(caught.value) is error
    assert len(engine.requests) == 1


def test_react_does_not_take_an_error_for_an_observation() -> None:
    """An outage ends the agent; it does not think on."""
    engine = Recorded(lambda request: EngineBusy("later"))
    with dspy.context(lm=as_lm(engine)), pytest.raises(dspy.LMError) as caught:
        dspy.ReAct(Capital, tools=[])(country="France")
    assert isinstance(unwrap(caught.value), EngineBusy)
    assert len(engine.requests) == 1


def test_an_agent_hears_that_its_prompt_is_too_long(endpoint: Any, fault: Any) -> None:
    """As DSPy's own error, which agents answer by shortening, with ours inside."""
    endpoint.fail(fault(status=400, body='{"error": {"message": "too long", "code": "context_length_exceeded"}}'))
    engine = HttpEngine(endpoint.url, "tiny")
    with dspy.context(lm=as_lm(engine)), pytest.raises(dspy.ContextWindowExceededError) as caught:
        dspy.Predict(Capital)(country="France")
    assert isinstance(unwrap(caught.value), EngineRefused)
    engine.close()


def test_unwrap_leaves_other_errors_alone() -> None:
    """Contexts count, suppressed ones do not, circles end."""
    plain = ValueError("x")
    assert unwrap(plain) is plain
    inner, outer = BudgetExceeded("full"), RuntimeError("y")
    outer.__context__ = inner
    assert unwrap(outer) is inner
    outer.__suppress_context__ = True
    assert unwrap(outer) is outer
    plain.__cause__ = outer
    outer.__cause__ = plain
    assert unwrap(plain) is plain


@pytest.fixture
def seeded() -> Recorded:
    return Recorded(lambda request: CHAT)


def seeds(engine: Recorded) -> list[int | None]:
    return [request.config.seed for request in engine.requests]


def test_rollouts_are_samples_of_their_own(seeded: Recorded) -> None:
    """Copies, module settings and call settings alike; the same rollout is the same request again."""
    lm = as_lm(seeded, temperature=1.0)
    with dspy.context(lm=lm):
        dspy.Predict(Capital)(country="France")
        dspy.Predict(Capital, rollout_id=1, temperature=1.0)(country="France")
        dspy.Predict(Capital)(country="France", config={"rollout_id": 2})
    for rollout in (1, 2, 3):
        with dspy.context(lm=lm.copy(rollout_id=rollout)):
            dspy.Predict(Capital)(country="France")
    got = seeds(seeded)
    assert got[0] is None
    assert got[1:3] == got[3:5]
    assert len(set(got)) == 4
    assert all(seed is None or 0 <= seed < 2**31 for seed in got)


def test_constraints_of_decoding_reach_the_engine(seeded: Recorded) -> None:
    """DSPy's own keywords have no place for them. Async too, and not beyond their call."""
    with dspy.context(lm=as_lm(seeded)):
        dspy.Predict(Capital)(country="France", config={"regex": "a|b", "temperature": 0.5})
        asyncio.run(dspy.Predict(Capital, grammar="g").acall(country="France"))
        dspy.Predict(Capital)(country="France")
    configs = [request.config for request in seeded.requests]
    assert [config.extensions for config in configs] == [{"regex": "a|b"}, {"grammar": "g"}, None]
    assert configs[0].temperature == 0.5


def test_rollouts_of_different_seeds_differ(seeded: Recorded) -> None:
    """The seed of the call is part of them."""
    for seed in (7, 8):
        with dspy.context(lm=as_lm(seeded, temperature=1.0, seed=seed, rollout_id=1)):
            dspy.Predict(Capital)(country="France")
    assert len(set(seeds(seeded))) == 2


def test_samples_of_one_call_differ(seeded: Recorded) -> None:
    """`n` is n requests; the first is what it would be alone. Async too."""
    with dspy.context(lm=as_lm(seeded, temperature=1.0, seed=5)):
        dspy.Predict(Capital, n=3)(country="France")
        asyncio.run(dspy.Predict(Capital, n=3).acall(country="France"))
    got = seeds(seeded)
    assert got[0] == 5
    assert len(set(got[:3])) == 3
    assert got[:3] == got[3:]


@pytest.mark.filterwarnings("ignore:rollout_id has no effect")
def test_greedy_rollouts_are_one_request(seeded: Recorded) -> None:
    """At temperature 0 DSPy promises no effect, so the answer found before is the answer."""
    for rollout in (1, 2):
        with dspy.context(lm=as_lm(seeded, temperature=0.0, rollout_id=rollout)):
            dspy.Predict(Capital)(country="France")
    assert seeded.requests[0] == seeded.requests[1]


def test_best_of_n_sees_different_samples(seeded: Recorded) -> None:
    """DSPy's own sampler gets as many requests as it asks for."""
    with dspy.context(lm=as_lm(seeded)):
        dspy.BestOfN(dspy.Predict(Capital), N=3, reward_fn=lambda args, prediction: 0.0, threshold=1.0)(
            country="France"
        )
    assert len(set(seeds(seeded))) == 3


def test_threads_do_not_mix_their_samples(seeded: Recorded) -> None:
    """Each call counts its own samples."""
    with dspy.context(lm=as_lm(seeded, temperature=1.0, rollout_id=4)):
        dspy.Parallel(num_threads=8, disable_progress_bar=True)([(dspy.Predict(Capital), {"country": "France"})] * 24)
    assert len(seeded.requests) == 24
    assert len(set(seeds(seeded))) == 1


def test_modules_with_an_lm_of_their_own_can_be_copied() -> None:
    """Optimizers deep-copy programs; the engine is borrowed, not copied."""
    engine = ScriptedEngine(lambda request: CHAT)
    module = dspy.Predict(Capital)
    module.set_lm(as_lm(engine))
    copied = module.deepcopy()
    assert copied.lm.engine.engine is engine
    assert copied(country="France").answer == "Paris"


def test_usage_is_told_to_dspy() -> None:
    """Its usage tracker counts our tokens."""
    engine = ScriptedEngine(lambda request: CHAT)
    with dspy.context(lm=as_lm(engine), track_usage=True):
        usage = dspy.Predict(Capital)(country="France").get_lm_usage()
    assert usage[engine.model]["completion_tokens"] == len(CHAT.split())


def test_streaming_ends_in_the_same_answer() -> None:
    """Whole answers, as one stream."""

    async def last() -> Any:
        streamed = dspy.streamify(dspy.Predict(Capital))
        chunks = [chunk async for chunk in streamed(country="France")]
        return chunks[-1]

    with dspy.context(lm=as_lm(ScriptedEngine(lambda request: CHAT))):
        assert asyncio.run(last()).answer == "Paris"


def test_an_explicit_request_passes_as_it_is(seeded: Recorded) -> None:
    """DSPy's typed call gives the engine's own response."""
    request = replace(request_for("hi"), model=seeded.model)
    answer = as_lm(seeded)(request=request)
    assert seeded.requests == [request]
    assert answer.model == seeded.model


@pytest.mark.parametrize("settings", [{"cache": True}, {"num_retries": 3}, {"api_key": "k"}, {"timeout": 3}])
def test_settings_that_are_the_engines_are_refused(settings: dict[str, Any]) -> None:
    """DSPy would drop or double them."""
    with pytest.raises(BadConfig):
        as_lm(ScriptedEngine([]), **settings)
