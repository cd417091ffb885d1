"""What tokens cost: whose table counts, how tables are written, and that an unknown price is never zero."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts.engine_contract import ask
from dspy.lm15 import Message, Response, Usage

from stillroom.engines import ScriptedEngine, cost_usd, open_session
from stillroom.engines.prices import NO_PRICES, Price, known_prices, price_of, price_table
from stillroom.errors import BadConfig
from stillroom.ledger import Budget

MODEL = "http/host:1/m"
MILLION = 1_000_000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of settings; gives where the user's own file would lie."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STILLROOM_PRICES", raising=False)
    folder = tmp_path / "config" / "stillroom"
    folder.mkdir(parents=True)
    return folder / "prices.toml"


def test_known_models() -> None:
    """Models on one's own machine are free, listed ones have a price, others have none."""
    assert cost_usd("local/any@0123456789ab", 10, 10) == 0.0
    assert cost_usd("scripted/any@0123456789ab", 10, 10) == 0.0
    assert cost_usd("openai/gpt-4o-mini@live", MILLION, 0) == pytest.approx(0.15)
    assert cost_usd("openai/gpt-4o-mini@live", 0, MILLION) == pytest.approx(0.60)
    assert cost_usd("openai/no-such-model", 1, 1) is None
    assert cost_usd("http/host:1/gpt-4o-mini@live", 1, 1) is None
    assert cost_usd("azure/gpt-4o-mini-of-openai", 1, 1) is None


def test_a_list_price_says_where_it_is_from() -> None:
    """With its rate for cached tokens and its share for batches."""
    price = price_of("openai/gpt-4o-mini@live")
    assert price is not None
    assert (price.cached, price.batch) == (pytest.approx(0.075), pytest.approx(0.5))
    assert price.source.startswith("LiteLLM ")


def test_whose_table_counts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own, then the file that is named, then the user's usual file, then what is public."""
    own = {"openai/gpt-4o-mini": (4, 4)}
    assert cost_usd("openai/gpt-4o-mini", MILLION, 0) == pytest.approx(0.15)
    home.write_text('"openai/gpt-4o-mini" = [2, 2]\n"local/mine" = [1, 1]\n')
    assert cost_usd("openai/gpt-4o-mini", MILLION, 0) == 2
    assert cost_usd("local/mine@0123456789ab", MILLION, 0) == 1  # electricity is not free either
    named = tmp_path / "named.toml"
    named.write_text('"openai/gpt-4o-mini" = [3, 3]\n')
    monkeypatch.setenv("STILLROOM_PRICES", str(named))
    assert cost_usd("openai/gpt-4o-mini", MILLION, 0) == 3
    assert cost_usd("local/mine", MILLION, 0) == 1
    assert cost_usd("openai/gpt-4o-mini", MILLION, 0, own) == 4
    assert [price.model for price in known_prices(price_table(own))] == ["local/mine", "openai/gpt-4o-mini"]


def test_a_file_that_changes_is_read_again(home: Path) -> None:
    """In one process: an editor's save is enough."""
    home.write_text(f'"{MODEL}" = [2, 2]\n')
    assert cost_usd(MODEL, MILLION, 0) == 2
    home.write_text(f'"{MODEL}" = [22, 22]\n')
    assert cost_usd(MODEL, MILLION, 0) == 22


def test_what_an_entry_may_say(home: Path) -> None:
    """Two numbers, or a table; date and source of the file stand for entries without their own."""
    home.write_text(
        "date = 2026-11-01\nsource = 'the contract'\n"
        f'"{MODEL}" = [1, 2.5]\n'
        '["openai/x"]\ninput = 4\noutput = 8\ncached = 1\nbatch = 0.25\ndate = 2026-10-02\n'
    )
    assert price_of(f"{MODEL}@live") == Price(MODEL, 1, 2.5, date="2026-11-01", source="the contract")
    assert price_of("openai/x") == Price("openai/x", 4, 8, 1, 0.25, "2026-10-02", "the contract")
    assert price_of("batch+openai/x@live").usd(MILLION, MILLION) == 3.0


def test_cached_tokens_have_their_own_price() -> None:
    """Of the prompt's tokens, so many; where no price is given for them they cost what all others do."""
    price = Price("openai/x", 4, 8, 1)
    assert price.usd(MILLION, 0, cached=MILLION / 2) == 2.5
    assert Price("openai/x", 4, 8).usd(MILLION, 0, cached=MILLION / 2) == 4
    assert Price("anthropic/x", 4, 8, 1).usd(MILLION, 0, cached=MILLION) == 5  # it counts them beside the others


@pytest.mark.parametrize("model", ["batch+http/host:1/m@live", "batch+http/host:1/m"])
def test_batches_pay_half_unless_told_otherwise(model: str) -> None:
    """By the price of the model, its share for batches, or a price of the batch itself."""
    assert cost_usd(model, MILLION, 0, {MODEL: (2, 4)}) == 1.0
    assert cost_usd(model, MILLION, 0, {MODEL: {"input": 2, "output": 4, "batch": 0.8}}) == 1.6
    assert cost_usd(model, MILLION, 0, {MODEL: (2, 4), f"batch+{MODEL}": (0.5, 1)}) == 0.5
    assert cost_usd(model, MILLION, 0) is None


@pytest.mark.parametrize(
    "text",
    [
        '"a/b" = 3', '"a/b" = [1]', '"a/b" = [1, -2]', '"a/b" = [1, "x"]', '"a/b" = [1, nan]', '"a/b" = [1, true]',
        '["a/b"]\ninput = 1', '["a/b"]\ninput = 1\noutput = 2\nouput = 3', '["a/b"]\ninput = 1\noutput = 2\nbatch = 2',
        '["a/b"]\ninput = 1\noutput = 2\ncached = "x"', '"gpt-4o" = [1, 2]', 'currency = "USD"',
    ],
)  # fmt: skip
def test_a_bad_entry_is_named_with_its_file(home: Path, text: str) -> None:
    """Before anything is spent, whichever model is asked about."""
    home.write_text(text)
    with pytest.raises(BadConfig, match=r"price.*prices\.toml") as caught:
        price_of("openai/gpt-4o-mini")
    assert "input" in caught.value.mend or "[0.15" in caught.value.mend


def test_a_file_that_cannot_be_read_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken TOML anywhere, and a file that is asked for and is not there; the usual one may be missing."""
    assert price_of(MODEL) is None
    home.write_text("= =")
    with pytest.raises(BadConfig, match=r"readable TOML.*prices\.toml"):
        price_of(MODEL)
    home.unlink()
    monkeypatch.setenv("STILLROOM_PRICES", str(tmp_path / "none.toml"))
    with pytest.raises(BadConfig, match=r"readable TOML.*none\.toml"):
        price_of(MODEL)


@pytest.mark.parametrize("given", [3, Price("a/b", 1, 1), ["a/b"], [("a/b", 1, 2)]])
def test_a_table_is_one_of_a_few_things(given: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadConfig, match="price"):
        price_table(given)
    assert price_table(None) == NO_PRICES
    assert price_table([Price("a/b", 1, 2)]) == price_table({"a/b": (1, 2)}) == {"a/b": Price("a/b", 1, 2)}


def test_an_engine_carries_the_callers_prices_into_its_budget(tmp_path: Path) -> None:
    """What is charged, cached tokens included, is what the table says; a price that is unknown cannot be a budget."""

    def say(request: object) -> Response:
        usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
        return Response(id=None, model="x", message=Message.assistant("yes"), finish_reason="stop", usage=usage)

    engine = ScriptedEngine(say, name="m")
    engine.model = "http/host:1/m@live"
    with pytest.raises(BadConfig, match="needs a price"), open_session(engine, tmp_path, "x", {}, Budget(usd=1)):
        pass
    engine = ScriptedEngine(say, name="m")
    engine.model = "http/host:1/m@live"
    engine.prices = price_table({MODEL: {"input": 10, "output": 20, "cached": 1}})
    with open_session(engine, tmp_path, "x", {}, Budget(usd=1)) as session:
        session.engine.complete(ask("hello"))
        assert session.ledger.spent.usd == pytest.approx((600 * 10 + 400 * 1 + 100 * 20) / MILLION)
