"""The laws of every engine."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from dspy.lm15 import Config, Message, Request

from stillroom.engines.contract import Engine
from stillroom.errors import EngineError

PROMPTS = ("Say the word apple.", "Say the word bread.", "Say the word candle.", "Say the word door.")


def ask(text: str, **config: Any) -> Request:
    """One user message, greedy unless `config` says otherwise."""
    settings = {"temperature": 0.0, "max_tokens": 16, **config}
    return Request(model="any", messages=(Message.user(text),), config=Config(**settings))


class EngineContract:
    """Subclass with an `engine` fixture; the laws come with it.

    Override `refused` with a request that the engine cannot answer to get the law about neighbours.
    """

    @pytest.fixture
    def refused(self) -> Request | None:
        return None

    def test_model_string_names_provider_name_and_digest(self, engine: Engine) -> None:
        """`provider/name@digest`, without spaces."""
        assert re.fullmatch(r"[^/\s]+/\S+@[^@\s/]+", engine.model)

    def test_what_it_takes_is_declared(self, engine: Engine) -> None:
        """DSPy reads these before it sends a schema or a setting."""
        assert isinstance(engine.supports_response_schema, bool)
        assert all(isinstance(name, str) for name in engine.supported_params)
        assert engine.max_concurrency >= 1

    def test_every_face_gives_the_same_answer(self, engine: Engine) -> None:
        """complete, acomplete, submit and complete_many agree on a greedy request."""
        request = ask(PROMPTS[0])
        texts = {
            engine.complete(request).text,
            asyncio.run(engine.acomplete(request)).text,
            engine.submit(request).result().text,
            engine.complete_many([request])[0].text,  # type: ignore[union-attr]
        }
        assert len(texts) == 1

    def test_answers_keep_the_order_of_their_requests(self, engine: Engine) -> None:
        """The answer at place i is the answer to request i."""
        requests = [ask(prompt) for prompt in PROMPTS]
        alone = [engine.complete(request).text for request in requests]
        assert [answer.text for answer in engine.complete_many(requests)] == alone  # type: ignore[union-attr]

    def test_awaited_together_keep_their_order(self, engine: Engine) -> None:
        """The same for answers awaited with gather."""
        requests = [ask(prompt) for prompt in PROMPTS]

        async def together() -> list[str | None]:
            answers = await asyncio.gather(*(engine.acomplete(request) for request in requests))
            return [answer.text for answer in answers]

        assert asyncio.run(together()) == [engine.complete(request).text for request in requests]

    def test_nothing_asked_is_nothing_answered(self, engine: Engine) -> None:
        """An empty batch is not an error."""
        assert engine.complete_many([]) == []

    def test_one_failure_does_not_cost_its_neighbours(self, engine: Engine, refused: Request | None) -> None:
        """A refused request leaves an error at its own place and answers at the others."""
        if refused is None:
            pytest.skip("this engine was given no request that it refuses")
        first, failed, last = engine.complete_many([ask(PROMPTS[0]), refused, ask(PROMPTS[1])])
        assert isinstance(failed, EngineError)
        assert first.text == engine.complete(ask(PROMPTS[0])).text  # type: ignore[union-attr]
        assert last.text == engine.complete(ask(PROMPTS[1])).text  # type: ignore[union-attr]
        with pytest.raises(EngineError):
            engine.complete(refused)

    def test_usage_is_always_there(self, engine: Engine) -> None:
        """Tokens in and out are counted, and what was reserved for the prompt covers it."""
        request = ask(PROMPTS[0])
        usage = engine.complete(request).usage
        assert usage.input_tokens is not None
        assert usage.output_tokens is not None
        assert 0 < usage.input_tokens <= engine.count_tokens(request)
        assert 0 < usage.output_tokens <= 16

    def test_answer_says_which_model_gave_it(self, engine: Engine) -> None:
        """`Response.model` is the model string, digest and all."""
        assert engine.complete(ask(PROMPTS[0])).model == engine.model

    def test_cancelling_one_leaves_the_others_alone(self, engine: Engine) -> None:
        """A cancelled future takes nothing with it."""
        lost, kept = engine.submit(ask(PROMPTS[0])), engine.submit(ask(PROMPTS[1]))
        lost.cancel()
        assert kept.result(timeout=60).text == engine.complete(ask(PROMPTS[1])).text

    def test_close_twice_is_close_once(self, engine: Engine) -> None:
        """Closing a closed engine does nothing."""
        engine.complete(ask(PROMPTS[0]))
        engine.close()
        engine.close()
