"""A session: one ledger and one store for every engine of a phase."""

from __future__ import annotations

from pathlib import Path

import pytest
from dspy.lm15 import Config, Message, Request

from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import BudgetExceeded
from stillroom.ledger import Budget


def ask(text: str) -> Request:
    return Request(model="any", messages=(Message.user(text),), config=Config(max_tokens=8))


def test_a_second_engine_shares_ledger_store_and_phase(tmp_path: Path):
    """Its calls are on the same bill and are found again under the same phase."""
    with open_session(ScriptedEngine(["one"]), tmp_path, "compile", {}, Budget(calls=2)) as session:
        beside = session.beside(ScriptedEngine(["two", "three"], name="prompt"))
        session.engine.complete(ask("a"))
        assert beside.complete(ask("b")).text == "two"
        assert session.ledger.spent.calls == session.store.spent("compile").calls == 2
        with pytest.raises(BudgetExceeded):
            beside.complete(ask("c"))


def test_the_same_model_is_the_same_engine(tmp_path: Path):
    """Equal requests stay one call, however often somebody asks for an engine beside."""
    with open_session(ScriptedEngine(["one"]), tmp_path, "compile", {}) as session:
        assert session.beside(ScriptedEngine(["other"])) is session.engine
        first = session.beside(ScriptedEngine([], name="prompt"))
        assert session.beside(ScriptedEngine([], name="prompt")) is first


def test_what_is_under_way_is_recorded_before_the_store_closes(tmp_path: Path):
    """Calls of the second engine too."""
    slow = ScriptedEngine(["late"], name="prompt", latency=0.1)
    with open_session(ScriptedEngine([]), tmp_path, "compile", {}) as session:
        session.beside(slow).submit(ask("a"))
    with open_session(ScriptedEngine([]), tmp_path, "compile", {}) as session:
        assert session.ledger.spent.calls == 1
    slow.close()
