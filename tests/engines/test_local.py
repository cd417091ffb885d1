"""The local engine on the real 135M model."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import dspy
import numpy as np
import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Message, Request
from real_local import fresh, model_file
from safetensors.numpy import save_file

from stillroom.engines import as_lm
from stillroom.engines.local import LocalEngine
from stillroom.errors import BadConfig, EngineError, EngineRefused, ModelMissing

pytestmark = pytest.mark.model

CAPITAL = "What is the capital of France?"
SOME = ("Name a colour.", "Why is the sky blue?", "Say the word apple.", "Count to ten.", "Write a line about rain.")


class TestLocalContract(EngineContract):
    """The laws of every engine."""

    @pytest.fixture
    def engine(self, shared: LocalEngine) -> LocalEngine:
        return shared

    @pytest.fixture
    def refused(self) -> Request:
        return ask("Say it.", extensions={"regex": "(never closed"})

    def test_answers_keep_the_order_of_their_requests(self, engine: LocalEngine) -> None:  # type: ignore[override]
        """The answer at place i is the answer to request i; a word each, as batches move the last bits."""
        requests = [ask("Repeat the number.", extensions={"regex": str(number)}) for number in range(70, 90)]
        answers = engine.complete_many(requests)
        assert [answer.text for answer in answers] == [str(number) for number in range(70, 90)]  # type: ignore[union-attr]

    def test_awaited_together_keep_their_order(self, engine: LocalEngine) -> None:  # type: ignore[override]
        """The same for answers awaited with gather."""
        requests = [ask("Repeat the number.", extensions={"regex": str(number)}) for number in range(70, 80)]

        async def together() -> list[str | None]:
            return [answer.text for answer in await asyncio.gather(*(engine.acomplete(each) for each in requests))]

        assert asyncio.run(together()) == [str(number) for number in range(70, 80)]

    def test_one_failure_does_not_cost_its_neighbours(self, engine: LocalEngine, refused: Request) -> None:  # type: ignore[override]
        """A broken constraint leaves an error at its own place and answers at the others."""
        first, failed, last = engine.complete_many([ask(SOME[0]), refused, ask(SOME[1])])
        assert isinstance(failed, EngineRefused)
        assert not isinstance(first, EngineError)
        assert not isinstance(last, EngineError)

    def test_cancelling_one_leaves_the_others_alone(self, engine: LocalEngine) -> None:  # type: ignore[override]
        """A long request that is cancelled while it runs gives its place away."""
        lost = engine.submit(ask("Tell a long story.", max_tokens=4000, extensions={"regex": "[a-z ]{4000,}"}))
        engine.complete(ask(SOME[0], max_tokens=2))
        assert lost.cancel()
        assert engine.complete(ask(SOME[1], max_tokens=2)).text

    def test_close_twice_is_close_once(self, engine: LocalEngine) -> None:  # type: ignore[override]
        """Closing a closed engine does nothing; what is sent to it fails; what was pending fails."""
        own = fresh()
        pending = own.submit(ask("Tell a long story.", max_tokens=2000))
        own.close()
        own.close()
        assert isinstance(pending.exception(timeout=30), EngineError)
        assert isinstance(own.submit(ask("hi")).exception(timeout=30), EngineError)


def test_it_answers(shared: LocalEngine) -> None:
    """The weights are those of the file: with the loader's rounded ones the first token is another."""
    answer = shared.complete(ask("Name a fruit.", logprobs=0))
    assert "fruit" in (answer.text or "")
    assert answer.logprobs is not None
    assert answer.logprobs[0].logprob == pytest.approx(-1.46, abs=0.35)  # transformers, float32


def test_a_batch_sampled_again_says_the_same(shared: LocalEngine) -> None:
    """Each request has random numbers of its own, and the same batch on the same cache the same last bits."""
    requests = [ask(text, temperature=0.9, seed=seed) for text in SOME[:3] for seed in (1, 2, 3)]
    _, once, again = ([answer.text for answer in shared.complete_many(requests)] for _ in range(3))  # type: ignore[union-attr]
    assert once == again
    assert all(len(set(once[place : place + 3])) > 1 for place in range(0, len(once), 3))


def test_threads_and_one_call_give_the_same(shared: LocalEngine) -> None:
    """Thirty-two threads share the batch."""
    requests = [ask(f"Say {number}.", extensions={"regex": "[0-9]{2}"}) for number in range(64)]
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda request: shared.complete(request).text, requests))
    assert len(texts) == 64
    assert all(text and len(text) == 2 and text.isdigit() for text in texts)


def test_a_schema_gives_one_line_of_json(shared: LocalEngine) -> None:
    """Typed fields, in order, laid out as `json.dumps` does."""
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "dark blue"]},
            "sure": {"type": "boolean"},
            "rank": {"type": "integer"},
        },
        "required": ["colour", "sure", "rank"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "schema": schema}
    text = shared.complete(ask("A colour, please.", response_format=form, max_tokens=60)).text
    assert text is not None
    value = json.loads(text)
    assert list(value) == ["colour", "sure", "rank"]
    assert json.dumps(value) == text


@pytest.mark.parametrize(
    ("extensions", "allowed"),
    [({"regex": "yes|no"}, {"yes", "no"}), ({"grammar": 'root ::= "up" | "down"'}, {"up", "down"})],
)
def test_a_regex_or_grammar_is_kept(shared: LocalEngine, extensions: dict[str, str], allowed: set[str]) -> None:
    """Nothing else can come out."""
    assert shared.complete(ask("Well?", extensions=extensions)).text in allowed


def test_an_answer_cut_short_says_so(shared: LocalEngine) -> None:
    """Length when the tokens ran out, stop when the text was at its end."""
    short = shared.complete(ask("Count to a hundred.", max_tokens=1))
    assert (short.finish_reason, short.usage.output_tokens) == ("length", 1)
    done = shared.complete(ask("Well?", extensions={"regex": "yes|no"}))
    assert done.finish_reason == "stop"


def test_a_stop_text_is_cut_off_where_it_begins(shared: LocalEngine) -> None:
    """Also inside a token, with as many log-probabilities as text."""
    answer = shared.complete(ask("Say it.", extensions={"regex": "one two three four"}, stop=("wo thr",), logprobs=0))
    assert (answer.text, answer.finish_reason) == ("one t", "stop")
    assert answer.logprobs is not None
    assert "".join(token.token for token in answer.logprobs).startswith("one t")


def test_an_empty_answer_is_an_answer(shared: LocalEngine) -> None:
    """Nothing was said, and that is what the response says."""
    answer = shared.complete(ask("Say nothing.", extensions={"regex": "x"}, stop=("x",)))
    assert (answer.text, answer.finish_reason) == ("", "stop")


def test_characters_of_several_tokens_come_out_whole(shared: LocalEngine) -> None:
    """An emoji is three or more tokens; half of one at the end is left out."""
    wanted = "a 🍎🇫🇷 naïve ﷽"
    assert shared.complete(ask("Say it.", extensions={"regex": wanted}, max_tokens=40)).text == wanted
    for limit in range(1, 12):
        text = shared.complete(ask("Say it.", extensions={"regex": wanted}, max_tokens=limit)).text or ""
        assert wanted.startswith(text.rstrip("\u200d"))


def test_the_beginning_of_an_answer_is_gone_on_from(shared: LocalEngine) -> None:
    """A last message of the assistant is not closed by the template."""
    talk = (Message.user("What is two plus two?"), Message.assistant("Two plus two is equal to"))
    request = Request(model="local", messages=talk, config=ask("", max_tokens=3, temperature=0.0).config)
    assert (shared.complete(request).text or "").startswith(" ")


def test_tokens_are_counted_as_they_are_sent(shared: LocalEngine) -> None:
    """What the ledger reserves is what is used."""
    for text in SOME:
        assert shared.count_tokens(ask(text)) == shared.complete(ask(text, max_tokens=1)).usage.input_tokens


def test_a_prompt_longer_than_the_context_is_refused_with_its_length(shared: LocalEngine) -> None:
    """Counted, never cut off unasked."""
    with pytest.raises(EngineRefused, match=r"8192 tokens, got 9\d\d\d"):
        shared.complete(ask("word " * 9000))


def test_next_turns_of_one_dialogue_do_not_mix(shared: LocalEngine) -> None:
    """They go on from one half-filled block of the cache, which the library would let them all write to."""
    opening = Message.user("Name a colour that somebody likes, and say in a sentence of your own what it looks like.")
    first = shared.complete(Request(model="local", messages=(opening,), config=ask("", max_tokens=12).config))
    turns = ["Why?", "Name another one.", "Is it warm?", "What has this colour?", "Say more."]
    requests = [
        Request(
            model="local",
            messages=(opening, first.message, Message.user(turn)),
            config=ask("", logprobs=0, max_tokens=2).config,
        )
        for turn in turns
    ]
    together = shared.complete_many(requests)
    alone = fresh()
    for request, answer in zip(requests, together, strict=True):
        once = alone.complete(request)
        assert answer.logprobs[0].logprob == pytest.approx(once.logprobs[0].logprob, abs=0.25)  # type: ignore[union-attr,index]
    alone.close()


def test_scores_are_those_of_the_model(shared: LocalEngine) -> None:
    """Against transformers in float32 on the dequantised file, first and repeated, across blocks."""
    long = (
        " is a very long continuation that goes on and on until it has more than thirty two tokens in it, so that "
        "it spans at least one boundary between blocks of the cache, I hope."
    )
    wanted = {
        "Paris": -4.10,
        "The capital of France is Paris.": -2.58,
        "London": -10.29,
        "The capital of France": -1.92,
    }
    texts = [*wanted, long, ""]
    for _ in range(3):
        scores = shared.score(ask(CAPITAL), texts)
        assert [score.continuation for score in scores] == texts
        for score in scores[:-2]:
            assert score.total == pytest.approx(wanted[score.continuation], abs=0.3)
        assert scores[-2].total == pytest.approx(-178.1, rel=0.02)
        assert (scores[-1].total, scores[-1].tokens) == (0.0, 0)
        shared.complete(ask(CAPITAL, max_tokens=1))


def test_answers_that_begin_alike_do_not_lose_each_other_s_scores(
    shared: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in a block the prompt ends, for many at once and again one by one."""
    texts = ['{"topic": "billing"}', '{"topic": "bill"}', '{"topic": "account"}']
    requests = [ask("Name the topic." + " and" * more) for more in range(33)]
    monkeypatch.setattr(LocalEngine, "_discard", lambda *args: pytest.fail("the model had to be loaded again"))
    many = shared.score_many(requests, texts)
    for request, together in zip(requests, many, strict=True):
        for alone, one in zip(shared.score(request, texts), together, strict=True):  # type: ignore[arg-type]
            assert alone.total == pytest.approx(one.total, rel=0.05)


def test_scores_agree_with_the_tokens_that_were_chosen(shared: LocalEngine) -> None:
    """The log-probabilities of an answer sum to its score, but for the end of the answer."""
    answer = shared.complete(ask(CAPITAL, logprobs=0, max_tokens=12))
    assert answer.logprobs is not None
    (score,) = shared.score(ask(CAPITAL), [answer.text or ""])
    total = math.fsum(token.logprob for token in answer.logprobs)
    assert score.tokens == len(answer.logprobs)
    assert score.mean == pytest.approx(total / len(answer.logprobs), abs=0.15)


def test_dspy_sends_the_schema_through(shared: LocalEngine) -> None:
    """A typed signature under the JSON adapter is answered within its types."""

    class Sort(dspy.Signature):
        """Sort the message."""

        message: str = dspy.InputField()
        team: Literal["billing", "network"] = dspy.OutputField()
        urgent: bool = dspy.OutputField()

    with dspy.context(lm=as_lm(shared, max_tokens=40), adapter=dspy.JSONAdapter()):
        answer = dspy.Predict(Sort)(message="The wireless network is down.")
    assert answer.team in {"billing", "network"}
    assert isinstance(answer.urgent, bool)


def test_a_lora_changes_the_answer_and_the_name(tmp_path: Path) -> None:
    """Its digest joins the model string; its scores are those of transformers with B A added twice."""
    rng, tensors = np.random.default_rng(0), {}
    for layer in range(30):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{stem}.lora_A.weight"] = (rng.normal(size=(8, 576)) * 0.05).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = (rng.normal(size=(576, 8)) * 0.05).astype(np.float32)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    engine = fresh(adapter=tmp_path)
    assert engine.model.startswith(f"local/smollm2-135m@{model_file().digest}+")
    scores = engine.score(ask(CAPITAL), ["London", "The capital of France is Paris."])
    engine.close()
    assert [score.total for score in scores] == pytest.approx([-9.99, -1.50], abs=0.3)  # without it: -10.29, -2.58


def test_what_is_no_model_is_bad_config(tmp_path: Path) -> None:
    """Said at once, with the file's name."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"\x03" + b"\0" * 40)
    with pytest.raises(BadConfig, match=r"m\.gguf"):
        LocalEngine(tmp_path / "m.gguf", name="m", digest="0" * 12)
    with pytest.raises(ModelMissing, match=r"none\.gguf"):
        LocalEngine(tmp_path / "none.gguf", name="m", digest="0" * 12)


def test_a_cache_that_cannot_be_written_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder, and how to choose another."""
    file = model_file()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("STILLROOM_CACHE", str(blocked))
    with pytest.raises(ModelMissing, match="cannot be prepared") as caught:
        LocalEngine(file.path, name=file.name, digest=file.digest)
    assert "STILLROOM_CACHE" in caught.value.mend


def test_an_engine_leaves_the_signal_stack_alone():
    """In a fresh process: a stack that a native library frees on another thread would make Ctrl-C a crash."""
    model_file()
    script = (
        "import sys, gc, threading\n"
        "from stillroom.engines import open_engine\n"
        "from stillroom.engines.local.signals import signal_stack\n"
        "before = signal_stack()\n"
        "held = [open_engine('local/smollm2-135m')]\n"
        "assert signal_stack() == before, (before, signal_stack())\n"
        "held[0].close()\n"
        "dropper = threading.Thread(target=held.clear)\n"
        "dropper.start(); dropper.join(); gc.collect()\n"
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 7, ended.stderr
