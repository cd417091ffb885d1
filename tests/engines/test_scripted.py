"""The scripted engine: what it says, what it writes down, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Message, Request, Response, Usage

from stillroom.engines.contract import Engine, Score
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, EngineRefused


def echo(request: Request) -> str | Exception:
    text = request.messages[-1].text or ""
    return EngineRefused("no") if text == "refuse this" else f"echo: {text}"


class TestScriptedContract(EngineContract):
    """The laws of every engine, answering at once."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = ScriptedEngine(echo)
        yield engine
        engine.close()

    @pytest.fixture
    def refused(self) -> Request:
        return ask("refuse this")


class TestSlowScriptedContract(TestScriptedContract):
    """The laws again, on threads."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = ScriptedEngine(echo, latency=0.001, max_concurrency=3)
        yield engine
        engine.close()


def test_digest_is_of_the_version() -> None:
    """A changed script is another model."""
    one, same, other = (ScriptedEngine(echo, name="a", version=version).model for version in ("0", "0", "1"))
    assert one == same == "scripted/a@5feceb66ffc8"
    assert one != other


def test_a_mapping_answers_by_the_last_message() -> None:
    """The whole message first, else the longest key within it, else a refusal."""
    engine = ScriptedEngine({"red": "colour", "dark red": "dark colour", "is it red?": "yes"})
    assert [engine.complete(ask(text)).text for text in ("is it red?", "so red", "a dark red wall")] == [
        "yes",
        "colour",
        "dark colour",
    ]
    with pytest.raises(EngineRefused, match="'green'"):
        engine.complete(ask("green"))


def test_a_sequence_answers_in_order_of_submission() -> None:
    """Whichever thread is first: the n-th request gets the n-th answer."""
    engine = ScriptedEngine([str(i) for i in range(20)], latency=0.001)
    answers = engine.complete_many([ask("x")] * 20)
    assert [answer.text for answer in answers] == [str(i) for i in range(20)]  # type: ignore[union-attr]
    with pytest.raises(EngineRefused, match="request 21 of 20"):
        engine.complete(ask("x"))
    engine.close()


def test_replies_may_be_responses_and_exceptions() -> None:
    """A response is passed as it is; an exception is raised."""
    made = Response(id="r", model="m", message=Message.assistant("hi"), finish_reason="length", usage=Usage())
    engine = ScriptedEngine([made, EngineBusy("later", retry_after=2.0), BudgetExceeded("full")])
    assert engine.complete(ask("x")) is made
    with pytest.raises(EngineBusy):
        engine.complete(ask("x"))
    with pytest.raises(BudgetExceeded):
        engine.complete(ask("x"))


def test_fail_comes_before_the_answer() -> None:
    """Chosen by request; where it returns nothing the script goes on."""
    engine = ScriptedEngine(echo, fail=lambda request: EngineBusy("later") if request.config.seed == 1 else None)
    assert engine.complete(ask("x", seed=2)).text == "echo: x"
    with pytest.raises(EngineBusy):
        engine.complete(ask("x", seed=1))


def test_max_tokens_cuts_after_words() -> None:
    """A token is a word, so budgets can be reckoned by hand."""
    answer = ScriptedEngine(["one two  three four"]).complete(ask("a b c", max_tokens=3))
    assert (answer.text, answer.finish_reason) == ("one two three", "length")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 3)


def test_what_is_served_is_written_down(tmp_path: Path) -> None:
    """One line a request, in the file before the answer is out; equal requests have equal keys."""
    log = tmp_path / "served.jsonl"
    engine = ScriptedEngine(echo, log=log)
    for text, seed in (("a", 1), ("a", 1), ("a", 2), ("é", 1)):
        engine.complete(ask(text, seed=seed))
        assert len(log.read_text().splitlines()) == engine.served
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["n"], line["prompt"], line["seed"]) for line in lines] == [
        (0, "a", 1),
        (1, "a", 1),
        (2, "a", 2),
        (3, "é", 1),
    ]
    assert lines[0]["key"] == lines[1]["key"]
    assert len({line["key"] for line in lines}) == 3


def test_failures_are_not_written_down(tmp_path: Path) -> None:
    """Only what was served."""
    log = tmp_path / "served.jsonl"
    engine = ScriptedEngine(echo, log=log)
    engine.complete_many([ask("a"), ask("refuse this")])
    assert len(log.read_text().splitlines()) == 1


def test_scores_come_from_the_script() -> None:
    """Or not at all."""
    engine = ScriptedEngine(
        echo, score=lambda request, texts: [Score(text, -float(len(text)), len(text)) for text in texts]
    )
    assert [score.mean for score in engine.score(ask("x"), ["a", "bb"])] == [-1.0, -1.0]
    with pytest.raises(NotImplementedError, match="scripted"):
        ScriptedEngine(echo).score(ask("x"), ["a"])


@pytest.mark.parametrize("settings", [{"latency": -1}, {"max_concurrency": 0}])
def test_bad_settings_fail_at_once(settings: dict[str, Any]) -> None:
    """And a text is no script."""
    with pytest.raises(BadConfig):
        ScriptedEngine(echo, **settings)
    with pytest.raises(BadConfig, match="got str"):
        ScriptedEngine("hello")


def test_a_closed_engine_refuses() -> None:
    """With or without threads."""
    for latency in (0.0, 0.001):
        engine = ScriptedEngine(echo, latency=latency)
        engine.close()
        with pytest.raises(EngineRefused, match="closed"):
            engine.complete(ask("x"))
