"""A flow that goes on: the same bytes as if it had not stopped, nothing asked twice, faults tried again on request."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Model, answers, draw, echo, judged, plan, said

from stillroom.errors import EngineRefused, FingerprintChanged, Interrupted
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty, Schema
from stillroom.programs.flow import Ask, At, Do, Inputs, Quotas, Split, Wanted
from stillroom.signatures import Field


def stopping(answer, after: int):
    """An answer that becomes Ctrl-C after so many calls."""
    served = 0

    def reply(request):
        nonlocal served
        served += 1
        return Interrupted("no call is begun after Ctrl-C") if served > after else answer(request)

    return reply


@pytest.mark.parametrize("seed", range(6))
def test_stopped_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, seed: int):
    """Three stops at random points, in any order of answering; no answered call is made again."""
    whole = Model(answers)
    world.run(tmp_path / "whole", judged(whole), whole)
    rng = random.Random(seed)
    asked: Counter = Counter()
    for _ in range(3):
        engine = Model(
            stopping(answers, rng.randrange(1, 90)), wait=world.shuffled(seed), max_concurrency=rng.choice((1, 8, 40))
        )
        with pytest.raises(KeyboardInterrupt):
            # the window is what it was when the run began, whatever the engine is worth now
            world.run(tmp_path / "cut", judged(engine), engine)
        asked += engine.asked
        asked -= Counter(
            {key: 1 for key in engine.asked if engine.asked[key] and key not in _recorded(tmp_path / "cut")}
        )
    engine = Model(answers, wait=world.shuffled(seed + 50))
    world.run(tmp_path / "cut", judged(engine), engine)
    assert not (asked.keys() & engine.asked.keys())
    if _window(tmp_path / "cut") == _window(tmp_path / "whole"):
        assert world.stored(tmp_path / "cut") == world.stored(tmp_path / "whole")
    else:
        again = Model(answers)
        world.run(tmp_path / "again", judged(again, window=_window(tmp_path / "cut")), again)
        assert world.stored(tmp_path / "cut") == world.stored(tmp_path / "again")


def _window(folder: Path) -> int:
    with world.Store(folder) as store:
        (note,) = store.notes("flow").values()
    return note["window"]


def _recorded(folder: Path) -> set:
    """(last message, seed) of the calls on record."""
    import sqlite3

    with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as db:
        requests = [json.loads(text) for (text,) in db.execute("SELECT request FROM calls WHERE status = 'done'")]
    return {(each["messages"][-1]["parts"][0]["text"], each["config"].get("seed")) for each in requests}


def test_an_ended_run_asks_nothing_and_gives_the_same(tmp_path: Path):
    """Run again, it reads its rows back."""
    engine = Model(answers)
    first = world.run(tmp_path, judged(engine), engine)
    deaf = Model(lambda request: pytest.fail("nothing is to be asked"))
    again = world.run(tmp_path, judged(deaf), deaf)
    assert again.as_json() == first.as_json()
    assert list(again.rows) == list(first.rows)
    assert list(again.rejects) == list(first.rejects)


def test_gates_between_steps_remember_what_they_saw(tmp_path: Path):
    """Also where the emitted rows do not have the field any more."""

    def reply(request):
        number = request.config.seed % 40
        return json.dumps(
            {"a": f"idea {number}"} if "Give a" in str(request.system) else {"b": f"made of {said(request)}"}
        )

    def made():
        parts = (
            Ask("idea", plan()),
            At(Novelty("new idea", Exact), ("a",)),
            Ask("make", plan("a", "b")),
            Do("items", lambda state: {"items": [state["b"], state["b"] + " again"]}, adds=("items",)),
            Split("split", "items"),
            Do("rename", lambda state: {"c": state["items"]}, reads=("items",), adds=("c",)),
        )
        return world.flow({"x": 40}, parts, emits=("c",), text=("c",), attempts=6)

    world.run(tmp_path / "whole", made(), Model(reply))
    for after in (15, 40):
        with pytest.raises(KeyboardInterrupt):
            world.run(tmp_path / "cut", made(), Model(stopping(reply, after)))
    world.run(tmp_path / "cut", made(), Model(reply))
    assert world.stored(tmp_path / "cut") == world.stored(tmp_path / "whole")


def test_retry_runs_what_was_lost_and_nothing_else(tmp_path: Path):
    """Quarantined rows get one more try, where their quota is not full; what passed stays as it is."""

    def reply(request):
        number = int(said(request).split()[1]) if len(request.messages) == 1 else -1
        if number % 5 == 0:
            return EngineRefused(f"no more, request {number}")
        return "garbage" if number % 5 == 1 or number == -1 else echo(request)

    made = world.flow({"x": 20, "y": 3}, attempts=1)
    first = world.run(tmp_path, made, Model(reply))
    assert first.shortfall == {"x": 8, "y": 2}
    assert first.fates == {"accepted": 13, "quarantined": 10}
    engine = Model(echo)
    again = world.run(tmp_path, made, engine, retry=True)
    assert again.shortfall == {}
    assert sum(engine.asked.values()) == 10
    assert list(again.rows)[:13] == list(first.rows)
    assert {row.place.rsplit("/", 1)[1] for row in list(again.rows)[13:]} == {"1"}
    deaf = Model(lambda request: pytest.fail("nothing is to be asked"))
    assert world.run(tmp_path, made, deaf, retry=True).as_json() == again.as_json()


def test_a_stopped_retry_goes_on(tmp_path: Path):
    """A retry is part of the run: killed in its middle, it ends as it would have ended."""

    def reply(request):
        return EngineRefused("not now") if int(said(request).split()[1]) % 2 else echo(request)

    made = world.flow({"x": 40}, attempts=1, window=16)
    folders = [tmp_path / "whole", tmp_path / "cut"]
    for folder in folders:
        world.run(folder, made, Model(reply))
    world.run(folders[0], made, Model(echo), retry=True)
    with pytest.raises(KeyboardInterrupt):
        world.run(folders[1], made, Model(stopping(echo, 9)), retry=True)
    world.run(folders[1], made, Model(echo))
    assert world.stored(folders[1]) == world.stored(folders[0])


def test_another_block_or_window_is_refused(tmp_path: Path):
    """They decide what is begun when."""
    key = world.flow().key
    world.run(tmp_path, world.flow(), Model(echo))
    for settings in ({"block": 4}, {"window": 8}):
        with pytest.raises(FingerprintChanged, match="the run began with blocks of 8 and a window of 64"):
            world.run(tmp_path, world.flow(recipe=key, **settings), Model(echo))


class Pool:
    """What is asked follows from the rows accepted so far, as in a pool that grows from its own rows."""

    quotas = {"x": 60}
    together = 1

    def __init__(self) -> None:
        self.pool: list[str] = []

    def wanted(self, cell):
        for slot in itertools.count():
            shown = random.Random(slot).sample(self.pool, min(2, len(self.pool)))
            yield Wanted(cell, slot, {"q": f"n {slot} like {shown}"})

    def learn(self, rows):
        self.pool += [row.values["a"] for row in rows if row.status == "accepted"]


@pytest.mark.parametrize("seed", range(3))
def test_a_source_that_learns_is_taught_the_same(tmp_path: Path, seed: int):
    """In whatever order answers come, and wherever the run stopped."""
    parts = (Ask("write", plan()), Schema(plan().shape))

    def made():
        return world.flow(source=Pool(), parts=parts, window=16)

    def reply(request):
        return "none" if request.config.seed % 6 == 0 and len(request.messages) == 1 else echo(request)

    world.run(tmp_path / "whole", made(), Model(reply))
    for after in (20 + 7 * seed, 15):
        with pytest.raises(KeyboardInterrupt):
            world.run(tmp_path / "cut", made(), Model(stopping(reply, after), wait=world.shuffled(seed)))
    emitted = world.run(tmp_path / "cut", made(), Model(reply, wait=world.shuffled(seed + 9)))
    assert len(emitted.rows) == 60
    assert any("re n 0" in row.values["q"] for row in emitted.rows)
    assert world.stored(tmp_path / "cut") == world.stored(tmp_path / "whole")


# -- inputs ----------------------------------------------------------------------------------------

Q = [Field("q", world.TEXT)]


def lines(path: Path, questions) -> Path:
    path.write_text("".join(json.dumps({"q": each, "id": place}) + "\n" for place, each in enumerate(questions)))
    return path


def of_input(rows, **settings):
    settings = {"emits": (), "text": ("a",), "attempts": 1, **settings}
    return world.flow(source=Inputs(rows, Q, [Field("a", world.TEXT)]), parts=(Ask("write", plan()),), **settings)


def test_every_row_of_an_input_is_answered_in_its_order(tmp_path: Path):
    """Other columns stay; rows that break their types are rejected with the reason and cost nothing."""
    path = tmp_path / "in.jsonl"
    rows = [{"q": f"n {place}", "id": place} for place in range(50)]
    rows[7], rows[9] = {"q": "", "id": 7}, {"id": 9}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = Model(echo, wait=world.shuffled(2))
    emitted = world.run(tmp_path / "run", of_input(path), engine)
    assert [row.values["id"] for row in emitted.rows] == [place for place in range(50) if place not in (7, 9)]
    assert [(row.gate, row.why[:17]) for row in emitted.rejects] == [
        ("input", "q: must not be em"),
        ("input", "q: column 'q' is "),
    ]
    assert emitted.shortfall == {"rows": 2}
    assert emitted.funnel[0] == ("input", 50, 2)
    assert sum(engine.asked.values()) == 48


def test_rows_appended_to_an_input_cost_what_they_cost(tmp_path: Path):
    """Thirty more rows are thirty more calls, also where the run was stopped before or rows are tried twice."""

    def reply(request):
        bad = int(said(request).split()[1]) % 7 == 0 and request.config.seed % 2
        return EngineRefused("not this") if bad else echo(request)

    path = lines(tmp_path / "in.jsonl", [f"n {place}" for place in range(70)])
    made = of_input(path, attempts=2, window=16)
    with pytest.raises(KeyboardInterrupt):
        world.run(tmp_path / "run", made, Model(stopping(reply, 33)))
    first = world.run(tmp_path / "run", made, Model(reply))
    lines(path, [f"n {place}" for place in range(100)])
    engine = Model(reply)
    both = world.run(tmp_path / "run", made, engine)
    assert {int(text.split()[1]) for text, _ in engine.asked} == set(range(70, 100))
    assert list(both.rows)[: len(first.rows)] == list(first.rows)
    assert sorted(row.values["id"] for row in both.rows) + [0] * both.shortfall.get("rows", 0)
    assert len(both.rows) + both.shortfall.get("rows", 0) == 100
    deaf = Model(lambda request: pytest.fail("nothing is to be asked"))
    assert world.run(tmp_path / "run", made, deaf).as_json() == both.as_json()


def test_another_input_is_refused(tmp_path: Path):
    """Rows may be appended; what was answered must stay."""
    path = lines(tmp_path / "in.jsonl", ["n 0", "n 1", "n 2"])
    world.run(tmp_path / "run", of_input(path), Model(echo))
    lines(path, ["n 0", "n 5", "n 2"])
    with pytest.raises(FingerprintChanged, match="row rows/1/0 was made from another input"):
        world.run(tmp_path / "run", of_input(path), Model(echo))


def test_copies_in_an_input_are_asked_once(tmp_path: Path):
    """Also while the first of them is under way; each has its row. At temperature 0 and above."""
    for number, temperature in enumerate((0.0, 0.7)):
        path = lines(tmp_path / "in.jsonl", ["n 0", "n 1", "n 0", "n 0", "n 2"])
        engine = Model(echo, wait=world.shuffled(1))
        made = world.flow(
            source=Inputs(path, Q), parts=(Ask("write", plan(temperature=temperature)),), emits=(), text=("a",)
        )
        emitted = world.run(tmp_path / str(number), made, engine)
        assert len(emitted.rows) == 5
        assert sum(engine.asked.values()) == 3
        assert len({row.values["a"] for row in emitted.rows}) == 3


def test_a_column_named_like_an_output_is_what_the_row_should_have(tmp_path: Path):
    """Gates that compare get it as the target; the emitted row has the program's own answer."""
    seen = []

    class Compares:
        name, on_fail, by = "gold", "rejected", "verifier"

        def check(self, batch):
            from stillroom.evals import Verdict

            seen.extend((candidate.values["a"], dict(candidate.target)) for candidate in batch)
            return [Verdict(float(candidate.target["a"] in candidate.values["a"]), "not so") for candidate in batch]

        def keep(self, passed):
            pass

    rows = [{"q": "n 0", "a": "n 0"}, {"q": "n 1", "a": "n 9"}]
    source = Inputs(rows, Q, [Field("a", world.TEXT)])
    emitted = world.run(
        tmp_path, world.flow(source=source, parts=(Ask("write", plan()), Compares()), emits=()), Model(echo)
    )
    assert [target for _, target in seen[:2]] == [{"a": "n 0"}, {"a": "n 9"}]
    assert [row.values["q"] for row in emitted.rows] == ["n 0"]
    assert emitted.rows[0].values["a"].startswith("re n 0")


def test_an_input_is_read_as_it_is_needed(tmp_path: Path):
    """A stream is never further ahead than the window."""
    read, committed = 0, 0

    class Stream:
        def __iter__(self):
            nonlocal read
            for place in range(300):
                read += 1
                assert read <= committed + 17  # the window, and the look at the first row
                yield {"q": f"n {place}"}

    def progress(accepted: int, wanted: int) -> None:
        nonlocal committed, read
        committed = accepted

    source = Inputs(Stream(), Q)
    source.check()
    read = 0
    made = world.flow(source=Quotas({"x": 0}, draw))
    assert made.key
    emitted = world.run(
        tmp_path, of_input(Stream(), window=16), Model(echo, wait=world.shuffled(0)), on_progress=progress
    )
    assert len(emitted.rows) == 300


def test_an_input_that_cannot_be_used_is_refused_before_anything_is_asked(tmp_path: Path):
    """Empty, or its first row lacks the program's inputs."""
    from stillroom.errors import BadData

    engine = Model(echo)
    for rows, match in (([], "must hold rows, got none"), ([{"question": "n 0"}], "column 'q' is missing")):
        with pytest.raises(BadData, match=match):
            world.run(tmp_path / match[:9], of_input(rows), engine)
    assert not engine.asked
