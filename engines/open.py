"""One readable string for each engine.

    local/qwen2.5-coder-1.5b        a named model, on this machine
    local/path/to/model.gguf        a model file of your own
    http://host:8000/v1#model       an OpenAI-compatible endpoint; https:// likewise
    http/host:8000/model            the same, in short: http://host:8000/v1#model
    batch+https://host/v1#model     the same endpoint through its batch API: within a day, for less money
    openai/gpt-4o-mini              whatever else `dspy.LM` understands: anthropic/..., ollama_chat/...

An engine's own model string (`local/name@digest`, `http/host/model@live`) opens it again.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any

from stillroom.errors import BadConfig, EngineRefused

from .batch import BatchEngine
from .contract import Engine
from .http import HttpEngine, key_from_environment
from .prices import price_table
from .provider import ProviderEngine

__all__ = ["open_engine"]

FORMS = "local/NAME, local/PATH.gguf, http://HOST:PORT/v1#MODEL, http/HOST:PORT/MODEL, either of these after batch+, or a provider string such as openai/gpt-4o-mini."


def open_engine(spec: str, *, on: str | None = None, prices: Any = None, **settings: Any) -> Engine:
    """Make the engine that `spec` names. Nothing is sent and nothing is paid.

    Args:
        spec: One of the forms above. The key of an `http` endpoint is STILLROOM_HTTP_KEY, else
            (over https, or to this machine) OPENAI_API_KEY, unless `api_key` is given.
        on: A Ray cluster on whose machines the engine is opened, as `RayEngine` takes it: `ray` for
            one on this machine, `auto`, `HOST:PORT` or `ray://HOST:PORT`. Files and keys are those of the
            machines. `None`: in this process.
        prices: What models cost, before all other tables; as `stillroom.engines.price_table` takes it.
        settings: As the engine's class takes them: `LocalEngine`, `HttpEngine`, `ProviderEngine`, or for
            a batch those of `BatchEngine` and, where it has none of that name, of `HttpEngine`.

    Raises:
        BadConfig: If `spec` is none of the forms, the engine does not take a setting, or a price is none.
        ModelMissing: If a local model is not there.
        EngineRefused: If a provider's key is missing.
    """
    own = price_table(prices)
    engine = _opened(spec, on, settings)
    engine.prices = own
    return engine


def _opened(spec: str, on: str | None, settings: dict[str, Any]) -> Engine:
    if on is not None:
        return _on_ray(spec, on, settings)
    if spec.startswith("batch+"):
        return _batch(spec.removeprefix("batch+"), settings)
    if spec.startswith(("http://", "https://")):
        url, _, name = spec.partition("#")
        return _http(url, name, settings)
    provider, _, rest = spec.partition("/")
    if not rest or not provider or spec != spec.strip():
        raise BadConfig(f"a model must be provider/name, got {spec!r}", mend=f"Write {FORMS}")
    if provider == "local":
        return _local(rest, settings)
    if provider in ("http", "https"):
        host, _, name = rest.partition("/")
        name, _, digest = name.partition("@") if name.count("@") == 1 else (name, "", "")
        return _http(f"{provider}://{host}/v1", name, settings | ({"digest": digest} if digest else {}))
    if provider == "scripted":
        raise BadConfig(
            f"a scripted engine cannot be opened by name, got {spec!r}", mend="Make it in code: ScriptedEngine(answer)."
        )
    return _provider(spec.removesuffix("@live"), settings)


def _on_ray(spec: str, where: str, settings: dict[str, Any]) -> Engine:
    from .ray import RayEngine

    if spec.startswith("batch+"):
        raise BadConfig(
            f"a batch is worked on at the endpoint, got {spec!r} on {where!r}", mend="Leave out one of the two."
        )
    rates = sorted({"requests_per_minute", "tokens_per_minute"} & settings.keys())
    if rates:
        raise BadConfig(
            f"several machines cannot keep to one rate, got {rates[0]}",
            mend="Leave it out: each machine slows down when the endpoint says so.",
        )
    serves = settings.get("serves", ()) if spec.startswith("http") else None
    return RayEngine(partial(open_engine, spec, **settings), where, serves=serves)


def _batch(spec: str, settings: dict[str, Any]) -> Engine:
    own = set(inspect.signature(BatchEngine).parameters) - {"live"}
    if not spec.startswith(("http://", "https://", "http/", "https/")):
        raise BadConfig(f"a batch must be of an http endpoint, got {spec!r}", mend="Write batch+https://HOST/v1#MODEL.")
    live = open_engine(spec, **{name: value for name, value in settings.items() if name not in own})
    assert isinstance(live, HttpEngine)
    return BatchEngine(live, **{name: value for name, value in settings.items() if name in own})


def _http(url: str, name: str, settings: dict[str, Any]) -> Engine:
    _check(HttpEngine, settings)
    if "api_key" not in settings:
        settings = settings | {"api_key": key_from_environment(url)}
    return HttpEngine(url, name, **settings)


def _local(rest: str, settings: dict[str, Any]) -> Engine:
    from .files import find
    from .local import LocalEngine

    name, _, digest = rest.rpartition("@") if re.search(r"@[0-9a-f]{12}$", rest) else (rest, "", "")
    _check(LocalEngine, settings)
    file = find(name)
    if digest and digest != file.digest:
        raise BadConfig(
            f"{name!r} must have the digest {digest}, got {file.digest}",
            mend="Fetch the file that was used then, or leave the digest out.",
        )
    return LocalEngine(file.path, **({"name": file.name, "digest": file.digest, "licence": file.licence} | settings))


def _provider(spec: str, settings: dict[str, Any]) -> Engine:
    from dspy.lm15 import (
        LMRouter,
        MissingCredentialError,
        NotConfiguredError,
        RouterConfig,
        UnknownModelError,
        UnsupportedFeatureError,
    )

    key = settings.get("api_key")
    try:
        found = LMRouter().resolve_openai_chat(spec)
    except (UnknownModelError, UnsupportedFeatureError):
        missing = _missing_by_litellm(spec)
    else:
        try:  # reads keys from the environment and sends nothing
            keys = {found.provider: key} if key else None
            LMRouter(RouterConfig(api_keys=keys)).lm(f"{found.provider}:{found.model}")
            missing = []
        except MissingCredentialError as error:
            missing = list(error.env_keys)
        except NotConfiguredError as error:
            if not {"api_base", "base_url"} & set(settings):
                raise BadConfig(str(error).partition("\n")[0], mend="Pass api_base=, or set what it names.") from error
            missing = []
    if missing and not key:
        names = " or ".join(missing)
        raise EngineRefused(f"{spec} needs a key, got none in {names}", mend=f"Set {missing[0]}, or pass api_key=.")
    return ProviderEngine(spec, **settings)


def _missing_by_litellm(spec: str) -> list[str]:
    """Names of the keys that LiteLLM would look for and not find. Takes seconds: LiteLLM is imported."""
    import litellm

    provider = spec.partition("/")[0]
    if provider not in {getattr(known, "value", known) for known in litellm.provider_list}:
        raise BadConfig(f"a model must name a provider that is known, got {spec!r}", mend=f"Write {FORMS}")
    missing = litellm.validate_environment(spec)["missing_keys"]
    return [name for name in missing if name.endswith("_KEY")]


def _check(engine: type[Engine], settings: dict[str, Any]) -> None:
    taken = set(inspect.signature(engine).parameters)
    extra = sorted(set(settings) - taken)
    if extra:
        raise BadConfig(f"{engine.__name__} takes no {', '.join(extra)}", mend=f"It takes {', '.join(sorted(taken))}.")
