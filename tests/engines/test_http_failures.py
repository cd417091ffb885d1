"""An endpoint that fails in every way it can: what is tried again, what is refused, and what is said of it."""

from __future__ import annotations

import logging
import socket
import traceback
from random import Random
from typing import Any

import pytest
from contracts.engine_contract import ask
from http_world import SECRET, engine_at

from stillroom.engines.http import HttpEngine
from stillroom.errors import EngineBusy, EngineRefused

FAULTS = {
    "rate limit": {"status": 429, "body": '{"error": {"message": "slow down"}}', "headers": {"Retry-After": "0.01"}},
    "server error": {"status": 500, "body": "boom"},
    "bad gateway in HTML": {"status": 502, "body": "<html>bad gateway</html>", "kind": "text/html"},
    "a page instead of an answer": {"body": "<html>log in</html>", "kind": "text/html"},
    "truncated JSON": {"body": '{"choices": [{"mess'},
    "JSON without a choice": {"body": '{"choices": []}'},
    "JSON that is not an object": {"body": "[1, 2]"},
    "an error in a success": {"body": '{"error": {"message": "upstream", "code": 503}}'},
    "a message of the wrong type": {"body": '{"choices": [{"message": "hello"}]}'},
    "a lost connection": {"drop": True},
    "a body cut short": {"body": '{"choices": [', "cut": True},
}


@pytest.mark.parametrize("what", FAULTS)
def test_infrastructure_failures_are_tried_again(endpoint: Any, engine: HttpEngine, fault: Any, what: str) -> None:
    """One failure, then an answer: the caller sees the answer."""
    endpoint.fail(fault(**FAULTS[what]))
    assert engine.complete(ask("hi")).text == "echo: hi"
    assert len(endpoint.sent) == 2


@pytest.mark.parametrize("what", FAULTS)
def test_infrastructure_failures_that_stay_are_busy_and_never_text(endpoint: Any, fault: Any, what: str) -> None:
    """After all tries the error says what was received, in one line."""
    engine = engine_at(endpoint, retries=2)
    endpoint.fail(*[fault(**FAULTS[what])] * 3)
    with pytest.raises(EngineBusy) as caught:
        engine.complete(ask("hi"))
    assert "got" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(endpoint.sent) == 3
    engine.close()


def test_a_slow_answer_times_out(endpoint: Any, fault: Any) -> None:
    """A try takes no longer than its timeout; the next may answer."""
    engine = engine_at(endpoint, timeout=0.2, retries=1)
    endpoint.fail(fault(slow=2.0))
    assert engine.complete(ask("hi")).text == "echo: hi"
    endpoint.fail(fault(slow=2.0), fault(slow=2.0))
    with pytest.raises(EngineBusy, match=r"within 0.2 s"):
        engine.complete(ask("hi"))
    engine.close()


def test_a_wish_that_is_too_long_is_passed_on(endpoint: Any, engine: HttpEngine, fault: Any) -> None:
    """Ten minutes are for the caller to wait, not for a thread."""
    endpoint.fail(fault(status=429, headers={"Retry-After": "600"}))
    with pytest.raises(EngineBusy) as caught:
        engine.complete(ask("hi"))
    assert caught.value.retry_after == 600
    assert len(endpoint.sent) == 1


@pytest.mark.parametrize(
    ("status", "body", "match"),
    [
        (400, '{"error": {"message": "bad field"}}', "bad field"),
        (402, "{}", "credit"),
        (404, '{"detail": "no such model"}', "no such model"),
        (422, '{"error": "wrong shape"}', "wrong shape"),
        (429, '{"error": {"message": "no quota", "code": "insufficient_quota"}}', "credit"),
        (302, "", "redirect"),
    ],
)
def test_refusals_are_not_tried_again(
    endpoint: Any, engine: HttpEngine, fault: Any, status: int, body: str, match: str
) -> None:
    """What will fail again fails once, with the server's own words."""
    endpoint.fail(fault(status=status, body=body, headers={"Location": "/elsewhere"}))
    with pytest.raises(EngineRefused, match=match):
        engine.complete(ask("hi"))
    assert len(endpoint.sent) == 1


def test_a_wrong_key_is_refused_without_showing_it(endpoint: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the server repeats it: neither message, notes, chain, repr nor log."""
    caplog.set_level(logging.DEBUG)
    endpoint.key = "the right one"
    engine = engine_at(endpoint, api_key=SECRET)
    for call in (lambda: engine.complete(ask("hi")), engine.check):
        with pytest.raises(EngineRefused, match=r"must accept the key, got 401: .*\*\*\*") as caught:
            call()
        assert "STILLROOM_HTTP_KEY" in caught.value.mend
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text + repr(engine) + repr(engine.endpoint) + repr(vars(engine.wire)) + repr(
        vars(engine._lines)
    ) + repr(engine._manners)
    assert len(endpoint.sent) == 1
    engine.close()


def test_a_right_key_is_sent(endpoint: Any) -> None:
    """As a bearer token."""
    endpoint.key = SECRET
    engine = engine_at(endpoint, api_key=SECRET)
    assert engine.complete(ask("hi")).text == "echo: hi"
    engine.close()


def test_no_key_is_said_to_be_missing(endpoint: Any, engine: HttpEngine) -> None:
    """Another mistake, another message."""
    endpoint.key = SECRET
    with pytest.raises(EngineRefused, match="a request without a key"):
        engine.complete(ask("hi"))


def test_check_finds_a_missing_model_and_a_wrong_address(endpoint: Any, engine: HttpEngine, fault: Any) -> None:
    """With what is there, for the user to choose from."""
    endpoint.models = ["other"]
    with pytest.raises(EngineRefused, match="does not serve 'tiny'") as caught:
        engine.check()
    assert "other" in caught.value.mend
    endpoint.fail(fault(body="<html>", kind="text/html"))
    with pytest.raises(EngineBusy, match="must list its models"):
        engine.check()


class Impatient(Random):
    """Chance, asked how long to wait."""

    def uniform(self, a: float, b: float) -> float:
        raise AssertionError("there was to be no second try")


def test_an_endpoint_that_is_not_there_fails_at_once() -> None:
    """No retries when nothing ever answered: one line says where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = HttpEngine(f"http://127.0.0.1:{port}/v1", "tiny", rng=Impatient())
    for call in (engine.check, lambda: engine.complete(ask("hi"))):
        with pytest.raises(EngineBusy, match=f"got no connection to 127.0.0.1:{port}") as caught:
            call()
        assert "\n" not in str(caught.value)
    engine.close()


def test_a_long_prompt_can_be_told_from_other_refusals(endpoint: Any, engine: HttpEngine, fault: Any) -> None:
    """So that the bridge can tell DSPy's agents to shorten their history."""
    from dspy.lm15 import ContextLengthError

    endpoint.fail(fault(status=400, body='{"error": {"message": "too long", "code": "context_length_exceeded"}}'))
    with pytest.raises(EngineRefused) as caught:
        engine.complete(ask("hi"))
    assert isinstance(caught.value.__cause__, ContextLengthError)
