"""An endpoint that changes under a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines import open_session
from stillroom.engines.http import HttpEngine
from stillroom.errors import EngineBusy, EngineRefused


def test_another_model_in_the_answers_is_refused_with_both_names(endpoint: Any, engine: HttpEngine) -> None:
    """What it was first is what it stays; nothing of the other one is taken, or paid for twice."""
    engine.complete(ask("hi"))
    assert engine.served == "tiny-2026"
    endpoint.name = "tiny-2027"
    for _ in range(3):
        with pytest.raises(EngineRefused, match=r"serving 'tiny-2026', got an answer of 'tiny-2027'") as caught:
            engine.complete(ask("hi"))
        assert "serves=['tiny-2026', 'tiny-2027']" in caught.value.mend
    assert len(endpoint.sent) == 2  # once it has changed, nothing more is sent


def test_names_that_were_declared_are_one_model(endpoint: Any) -> None:
    """A dated snapshot beside its short name, say."""
    engine = HttpEngine(endpoint.url, "tiny", serves=("tiny", "tiny-202?"))
    for endpoint.name in ("tiny-2026", "tiny", "tiny-2027"):
        assert engine.complete(ask("hi")).provider_data["model"] == endpoint.name
    endpoint.name = "huge"
    with pytest.raises(EngineRefused, match="'tiny-2026', got an answer of 'huge'"):
        engine.complete(ask("hi"))
    engine.close()


def test_a_pinned_name_holds_from_the_first_answer_on(endpoint: Any) -> None:
    """For a run that goes on with what began it."""
    engine = HttpEngine(endpoint.url, "tiny", serves=["tiny-2025"])
    with pytest.raises(EngineRefused, match="'tiny-2025', got an answer of 'tiny-2026'"):
        engine.complete(ask("hi"))
    engine.close()


def test_a_run_that_goes_on_is_held_to_the_model_that_began_it(endpoint: Any, tmp_path: Path) -> None:
    """A process of its own each time; names that are declared to be one model go on."""

    def go_on(text: str, *serves: str) -> str:
        engine = HttpEngine(endpoint.url, "tiny", serves=serves)
        try:
            with open_session(engine, tmp_path, "emit", {}) as session:
                return str(session.engine.complete(ask(text)).text)
        finally:
            engine.close()

    assert go_on("hi") == "echo: hi"
    endpoint.name = "tiny-2027"
    with pytest.raises(EngineRefused, match="serving 'tiny-2026', got an answer of 'tiny-2027'"):
        go_on("ho")
    with pytest.raises(EngineRefused, match="serving 'tiny-2027', got an answer of 'tiny-2026'"):
        go_on("ho", "tiny-2027")
    assert go_on("ho", "tiny-2026", "tiny-2027") == "echo: ho"


@pytest.mark.parametrize("name", [None, "", 7])
def test_an_answer_without_a_name_passes(endpoint: Any, engine: HttpEngine, name: object) -> None:
    """Not every server says who it is."""
    engine.complete(ask("hi"))
    endpoint.name = name
    assert engine.complete(ask("hi")).text == "echo: hi"


PAGES = {
    "a page in the middle": {"body": "<html>we are updating</html>", "kind": "text/html"},
    "half a body": {"body": '{"choices": [{"message": {"content": "hal'},
    "no choice": {"body": '{"choices": [], "model": "tiny-2026"}'},
    "an error in a success": {"body": '{"error": {"message": "overloaded"}, "model": "other"}'},
    "an answer cut short by an error": {
        "body": '{"choices": [{"message": {"content": "ha"}, "finish_reason": "error"}], "model": "tiny-2026"}'
    },
}


@pytest.mark.parametrize("what", PAGES)
def test_what_is_no_answer_is_tried_again_in_the_middle_of_a_run(
    endpoint: Any, engine: HttpEngine, fault: Any, what: str
) -> None:
    """And never taken for text."""
    engine.complete(ask("before"))
    endpoint.fail(fault(**PAGES[what]))
    assert engine.complete(ask("hi")).text == "echo: hi"
    endpoint.fail(*[fault(**PAGES[what])] * 6)
    with pytest.raises(EngineBusy):
        engine.complete(ask("hi"))


def test_a_filtered_answer_is_an_answer(endpoint: Any, engine: HttpEngine) -> None:
    """With its reason to stop, for the gates to see."""
    endpoint.finish = "content_filter"
    endpoint.say = lambda body: {"content": None}
    answer = engine.complete(ask("hi"))
    assert answer.finish_reason == "content_filter"
    assert not answer.text


def test_a_filtered_prompt_is_one_too(endpoint: Any, engine: HttpEngine, fault: Any) -> None:
    """Azure says it with a 400; it cost nothing, and the row beside it is answered."""
    body = '{"error": {"code": "content_filter", "message": "it looks like a jailbreak"}}'
    endpoint.fail(fault(status=400, body=body))
    answer = engine.complete(ask("hi"))
    assert answer.finish_reason == "content_filter"
    assert answer.model == engine.model
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (0, 0)
    assert engine.complete(ask("hi")).text == "echo: hi"
