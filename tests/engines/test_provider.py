"""Provider strings through dspy.LM, against an endpoint on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Request

from stillroom.engines.contract import Engine
from stillroom.engines.http import HttpEngine
from stillroom.engines.open import open_engine
from stillroom.engines.prices import cost_usd
from stillroom.engines.provider import ProviderEngine
from stillroom.errors import BadConfig, EngineBusy, EngineRefused, ModelMissing

SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy would fetch its price list from the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "STILLROOM_HTTP_KEY"):
        monkeypatch.delenv(name, raising=False)


def provider_at(endpoint: Any, **settings: Any) -> ProviderEngine:
    return ProviderEngine(
        "openai/gpt-4o-mini", **{"api_base": endpoint.url, "api_key": SECRET, "num_retries": 0, **settings}
    )


@pytest.fixture
def engine(endpoint: Any) -> Iterator[Engine]:
    engine = provider_at(endpoint)
    yield engine
    engine.close()


class TestProviderContract(EngineContract):
    """The laws of every engine."""

    @pytest.fixture
    def engine(self, endpoint: Any) -> Iterator[Engine]:
        engine = provider_at(endpoint)
        yield engine
        engine.close()

    @pytest.fixture
    def refused(self) -> Request:
        return ask("refuse this")


def test_answer_carries_the_providers_model_and_the_price(endpoint: Any, engine: Engine) -> None:
    """At list price: 5 tokens in, 3 out."""
    answer = engine.complete(ask("hi", seed=3))
    assert answer.model == "openai/gpt-4o-mini@live"
    assert answer.provider_data["model"] == "tiny-2026"
    assert answer.provider_data["cost_usd"] == pytest.approx(cost_usd("openai/gpt-4o-mini", 5, 3))
    assert endpoint.sent[0]["model"] == "gpt-4o-mini"
    assert endpoint.sent[0]["seed"] == 3


def test_equal_requests_are_all_sent(endpoint: Any, engine: Engine) -> None:
    """DSPy's cache is off: what is remembered is the store's business."""
    engine.complete_many([ask("hi")] * 3)
    assert len(endpoint.sent) == 3


def test_no_history_is_kept(engine: Engine) -> None:
    """A million answers must not stay in memory."""
    engine.complete(ask("hi"))
    assert engine._lm.history == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fault_", "kind"),
    [
        ({"status": 429, "body": '{"error": {"message": "slow down"}}', "headers": {"Retry-After": "7"}}, EngineBusy),
        ({"status": 500, "body": "boom"}, EngineBusy),
        ({"body": "<html>log in</html>", "kind": "text/html"}, EngineBusy),
        ({"drop": True}, EngineBusy),
        ({"status": 401, "body": f'{{"error": {{"message": "wrong key {SECRET}"}}}}'}, EngineRefused),
        ({"status": 404, "body": '{"error": {"message": "no such model"}}'}, EngineRefused),
        ({"status": 400, "body": '{"error": {"message": "bad field"}}'}, EngineRefused),
    ],
)
def test_errors_of_dspy_become_ours(
    endpoint: Any, engine: Engine, fault: Any, fault_: dict[str, Any], kind: type[Exception]
) -> None:
    """What may pass is busy, what will not is refused, and the key is in neither."""
    endpoint.fail(fault(**fault_))
    with pytest.raises(kind) as caught:
        engine.complete(ask("hi"))
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    if fault_.get("headers"):
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


def test_transient_failures_are_tried_again(endpoint: Any, fault: Any) -> None:
    """DSPy's own retries do it, with the endpoint's wish."""
    engine = provider_at(endpoint, num_retries=1)
    endpoint.fail(fault(status=429, body="{}", headers={"Retry-After": "0.01"}))
    assert engine.complete(ask("hi")).text == "echo: hi"
    engine.close()


def test_a_regex_is_refused(endpoint: Any, engine: Engine) -> None:
    """No provider takes one; it is not dropped silently."""
    with pytest.raises(EngineRefused, match="takes no regex"):
        engine.complete(ask("hi", extensions={"regex": "a"}))
    assert endpoint.sent == []


def test_settings_of_a_request_do_not_belong_to_the_connection() -> None:
    """They would be ignored silently."""
    with pytest.raises(BadConfig, match="temperature"):
        ProviderEngine("openai/gpt-4o-mini", temperature=0.1)


def test_a_closed_engine_refuses(endpoint: Any) -> None:
    """Closed means closed."""
    engine = provider_at(endpoint)
    engine.close()
    with pytest.raises(EngineRefused, match="closed"):
        engine.complete(ask("hi"))


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("http://localhost:8000/v1#org/tiny:1", "http/localhost:8000/org/tiny:1@live"),
        ("https://host.example/api/v1#m", "https/host.example/m@live"),
        ("http/localhost:8000/tiny", "http/localhost:8000/tiny@live"),
        ("http/localhost:8000/org/tiny@rev2", "http/localhost:8000/org/tiny@rev2"),
        ("ollama_chat/llama3", "ollama_chat/llama3@live"),
        ("ollama_chat/llama3@live", "ollama_chat/llama3@live"),
    ],
)
def test_a_spec_opens_its_engine(spec: str, model: str) -> None:
    """Nothing is sent; the model string opens the same engine again."""
    engine = open_engine(spec)
    assert engine.model == model
    if spec.startswith(("http/", "ollama")):
        again = open_engine(engine.model)
        assert again.model == model
        again.close()
    engine.close()


def test_an_http_spec_passes_settings_and_finds_its_key(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment unless given."""
    endpoint.key = SECRET
    monkeypatch.setenv("STILLROOM_HTTP_KEY", SECRET)
    engine = open_engine(f"{endpoint.url}#tiny", retries=0)
    assert isinstance(engine, HttpEngine)
    assert engine.complete(ask("hi")).text == "echo: hi"
    engine.close()
    keyless = open_engine(f"{endpoint.url}#tiny", api_key=None)
    with pytest.raises(EngineRefused, match="without a key"):
        keyless.complete(ask("hi"))
    keyless.close()


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "gpt-4o",
        "nonsense/model",
        "openai/",
        "/x",
        " openai/gpt-4o",
        "ftp://host/x",
        "http://host/v1",
        "http/host",
        "scripted/x",
    ],
)
def test_nonsense_is_refused_with_the_forms(spec: str) -> None:
    """One line, and how it is written."""
    with pytest.raises(BadConfig) as caught:
        open_engine(spec)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize("spec", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "groq/x"])
def test_a_missing_key_is_found_before_any_call(spec: str) -> None:
    """With the name of the variable that would hold it."""
    with pytest.raises(EngineRefused, match=r"needs a key, got none in [A-Z_]+_API_KEY"):
        open_engine(spec)
    open_engine(spec, api_key=SECRET).close()


def test_unknown_settings_are_refused() -> None:
    """By name, with those there are."""
    with pytest.raises(BadConfig, match="takes no tiemout") as caught:
        open_engine("http://localhost:1/v1#m", tiemout=3)
    assert "timeout" in caught.value.mend


def test_a_missing_local_model_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path is the user's: it is named."""
    pytest.importorskip("stillroom.engines.local")
    with pytest.raises((ModelMissing, BadConfig)):
        open_engine(f"local/{tmp_path}/none.gguf")
