"""Flows: rows that do not wait for each other, the same rows whoever answers first, quotas met exactly."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Asks, Model, answers, draw, echo, judged, plan, said

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty, Whole
from stillroom.ledger import Budget
from stillroom.programs.flow import Ask, At, Do, Quotas, Split, Wanted
from stillroom.signatures import Field


def test_rows_are_the_same_whoever_answers_first(tmp_path: Path):
    """Five orders of answering give the same rows, rejects, reasons and passports, in the same order."""
    runs = []
    for seed in range(5):
        engine = Model(answers, wait=world.shuffled(seed) if seed else None)
        emitted = world.run(tmp_path / str(seed), judged(engine), engine)
        assert len(emitted.rows) == 95
        assert emitted.shortfall == {}
        runs.append(world.stored(tmp_path / str(seed)))
    assert {row["status"] for row in runs[0]} >= {"accepted", "rejected", "audit"}
    assert all(run == runs[0] for run in runs)


def test_gates_that_remember_see_the_same_batches(tmp_path: Path):
    """Blocks are cut by the rows' numbers and come in their order, whatever the timing."""
    seen = []
    for seed in range(3):
        engine = Model(answers, wait=world.shuffled(seed))
        made = judged(engine)
        world.run(tmp_path / str(seed), made, engine)
        seen.append(made.parts[-1].batches)
        assert made.parts[-1].kept == [place for batch in made.parts[-1].batches for place in batch]
    assert seen[0] == seen[1] == seen[2]


def test_the_funnel_adds_up(tmp_path: Path):
    """Written is accepted plus what each gate stopped, and every row not accepted says where and why."""
    engine = Model(answers)
    emitted = world.run(tmp_path, judged(engine), engine)
    reached = emitted.written
    for _, entered, stopped in emitted.funnel:
        assert entered == reached
        reached -= stopped
    assert reached == len(emitted.rows) == len(list(emitted.rows))
    stopped = Counter(row.gate for row in emitted.rejects)
    assert {name: count for name, _, count in emitted.funnel if count} == stopped
    assert Counter(row.status for row in emitted.rejects) == {
        fate: count for fate, count in emitted.fates.items() if fate != "accepted"
    }
    assert all(row.why for row in emitted.rejects)


def test_a_slow_row_does_not_hold_up_others(tmp_path: Path):
    """The first row is answered only when forty later ones have been."""
    served = 0
    later = asyncio.Event()

    async def wait(request):
        nonlocal served
        if said(request) == "x 0":
            await later.wait()
        served += 1
        if served == 40:
            later.set()

    emitted = world.run(tmp_path, world.flow({"x": 64}), Model(echo, wait=wait, max_concurrency=8))
    assert len(emitted.rows) == 64
    assert emitted.rows[0].place == "x/0/0"


def test_gates_that_ask_do_not_hold_up_others(tmp_path: Path):
    """The judge of the first block answers only when later blocks were written."""
    written = 0
    later = asyncio.Event()

    async def wait(request):
        nonlocal written
        if "verdict" in str(request.system):
            await later.wait()
            return
        written += 1
        if written == 40:
            later.set()

    engine = Model(lambda r: '{"verdict": "yes"}' if "verdict" in str(r.system) else echo(r), wait=wait)
    parts = (Ask("write", plan()), Asks(engine))
    assert len(world.run(tmp_path, world.flow({"x": 64}, parts), engine).rows) == 64


def test_the_window_bounds_what_is_under_way(tmp_path: Path):
    """No more rows are drawn than the window holds, no more calls made at once than the engine is worth."""
    drawn, committed = 0, 0

    def counted(cell: str, slot: int) -> Wanted:
        nonlocal drawn
        drawn += 1
        assert drawn - committed <= 16
        return draw(cell, slot)

    def progress(accepted: int, wanted: int) -> None:
        nonlocal committed
        committed = accepted
        assert wanted == 200

    engine = Model(echo, wait=world.shuffled(1), max_concurrency=5)
    made = world.flow(source=Quotas({"x": 200}, counted), window=16)
    world.run(tmp_path, made, engine, on_progress=progress)
    assert drawn == committed == 200
    assert engine.most == 5


def test_what_passes_beyond_the_quota_is_kept_and_not_exported(tmp_path: Path):
    """Exactly as many as wanted are accepted; the rest is surplus, with its papers."""

    def splits(state):
        return {"items": [{"a": f"{state['a']} {number}"} for number in range(3)]}

    parts = (Ask("write", plan()), Do("several", splits, adds=("items",)), Split("split", "items"))
    emitted = world.run(tmp_path, world.flow({"x": 10}, parts), Model(echo))
    assert len(emitted.rows) == 10
    assert emitted.fates == {"accepted": 10, "surplus": emitted.fates["surplus"]}
    assert {(row.status, row.gate) for row in emitted.rejects} == {("surplus", "quota")}
    assert all(row.passport.verdicts[-1]["gate"] == "quota" for row in emitted.rejects)
    assert emitted.funnel == (("quota", emitted.written, emitted.fates["surplus"]),)


# -- several rows of one, several steps, several samples ----------------------------------


def test_a_row_may_become_several(tmp_path: Path):
    """Each has a place of its own behind its parent's; the calls are on the papers of the first; none is lost."""

    def items(state):
        number = int(state["q"].split()[1])
        return {"items": [{"a": f"{state['q']} item {place}"} for place in range(number % 4)]}

    parts = (Ask("write", plan()), Do("several", items, adds=("items",)), Split("split", "items"))
    emitted = world.run(tmp_path, world.flow({"x": 20}, parts), Model(echo))
    assert len(emitted.rows) == 20
    assert world.places(emitted.rows)[:4] == ["x/1/0.0", "x/2/0.0", "x/2/0.1", "x/3/0.0"]
    by_unit = Counter()
    for row in [*emitted.rows, *emitted.rejects]:
        by_unit[row.place.split(".")[0]] += row.passport.calls
        assert "items" not in row.values
    assert set(by_unit.values()) == {1}
    empty = [row for row in emitted.rejects if row.gate == "split"]
    assert {row.place for row in empty} >= {"x/0/0", "x/4/0"}


def test_steps_that_do_not_need_each_other_run_at_the_same_time(tmp_path: Path):
    """Left and right wait for each other's call; what joins them comes after both."""
    met = asyncio.Barrier(2)

    async def wait(request):
        if "join" not in str(request.system):
            await met.wait()

    def reply(request):
        if "Give left" in str(request.system):
            return json.dumps({"left": f"L{said(request)}"})
        if "Give right" in str(request.system):
            return json.dumps({"right": f"R{said(request)}"})
        return json.dumps({"join": said(request)})

    parts = (
        Ask("one", plan("q", "left")),
        Ask("two", plan("q", "right")),
        Ask("three", plan("left,right", "join")),
    )
    made = world.flow({"x": 1}, parts, emits=("q", "left", "right", "join"), text=())
    (row,) = world.run(tmp_path, made, Model(reply, wait=wait)).rows
    assert row.values["join"] == "left: Lx 0\nright: Rx 0"
    assert row.passport.calls == 3
    assert list(row.passport.decoding) == ["one", "three", "two"]


def test_samples_become_a_list_in_their_order(tmp_path: Path):
    """Each with a seed of its own; one that does not parse is left out; too few are a fault."""

    def reply(request):
        return "garbage" if request.config.seed % 3 == 0 else json.dumps({"a": str(request.config.seed)})

    made = world.flow(
        {"x": 6},
        (Ask("write", plan(), samples=4, into="tries", least=3, reask=False),),
        emits=("q", "tries"),
        text=("q",),
        attempts=9,
    )
    runs = [world.run(tmp_path / str(n), made, Model(reply, wait=world.shuffled(n))) for n in range(2)]
    assert list(runs[0].rows) == list(runs[1].rows)
    assert {len(row.values["tries"]) for row in runs[0].rows} <= {3, 4}
    assert all(len({each["a"] for each in row.values["tries"]}) >= 3 for row in runs[0].rows)
    assert {row.passport.calls for row in runs[0].rows} == {4}
    assert {(row.gate, row.status) for row in runs[0].rejects} >= {("write", "quarantined")}


def test_a_step_may_be_left_out(tmp_path: Path):
    """Its fields are None then; a repair that is not needed costs nothing."""
    parts = (
        Ask("write", plan()),
        Do("test", lambda state: {"good": state["q"] != "x 1"}, reads=("a",), adds=("good",)),
        Ask("repair", plan("a", "b"), when=lambda state: not state["good"]),
    )
    reply = Model(lambda r: json.dumps({"b": "mended"}) if said(r).startswith("re ") else echo(r))
    emitted = world.run(tmp_path, world.flow({"x": 3}, parts, emits=("q", "a", "b"), text=()), reply)
    assert [row.values["b"] for row in emitted.rows] == [None, "mended", None]
    assert [row.passport.calls for row in emitted.rows] == [1, 2, 1]


def test_gates_between_steps_save_the_calls_behind_them(tmp_path: Path):
    """A gate sees the fields it is given; rows it stops are asked nothing more."""

    def reply(request):
        if "Give a" in str(request.system):
            return json.dumps({"a": f"idea {request.config.seed % 2}"})
        return json.dumps({"b": f"made of {said(request)}"})

    engine = Model(reply)
    parts = (Ask("idea", plan()), At(Novelty("new idea", Exact), ("a",)), Ask("make", plan("a", "b")))
    emitted = world.run(tmp_path, world.flow({"x": 4}, parts, emits=("b",), text=("b",), attempts=5), engine)
    assert sorted(row.values["b"] for row in emitted.rows) == ["made of idea 0", "made of idea 1"]
    assert {row.gate for row in emitted.rejects} == {"new idea"}
    assert sum(count for (text, _), count in engine.asked.items() if text.startswith("idea")) == 2
    assert "new idea" in emitted.why()[0]


# -- declared wrongly -------------------------------------------------------------------------------


def test_flows_that_cannot_work_are_refused(tmp_path: Path):
    """Before anything is asked, with rule and value."""
    ask = Ask("write", plan())
    for bad, match in (
        (lambda: world.flow(parts=(ask, ask)), "names of their own, got \\['write'\\] twice"),
        (lambda: world.flow(block=0), "block must be at least 1"),
        (lambda: world.flow(window=12), "window must be a multiple of block \\(8\\), got 12"),
        (lambda: Ask("write", plan(temperature=0.0), samples=2), "2 samples at temperature 0 are one"),
        (lambda: Ask("write", plan(), samples=2, least=3), "least <= samples"),
        (lambda: Ask("write", plan(), inputs={"z": "q"}), "inputs must be the plan's, got \\['z'\\]"),
        (lambda: At(Whole(), ()), "must be given fields"),
        (lambda: world.flow(parts=(Novelty("n", Exact), ask)), "must be told what it looks at"),
    ):
        with pytest.raises(BadConfig, match=match):
            bad()
    engine = Model(echo)
    for parts, match in (
        ((Ask("write", plan("z")),), "step 'write' reads \\['z'\\], the row has \\['q'\\]"),
        ((ask, Split("split", "many")), "step 'split' splits 'many'"),
        ((Ask("write", plan(model="other/m@1")),), "a plan for other/m@1 needs its engine"),
        ((ask, Do("more", lambda state: {"z": 1})), "says that it adds \\(\\), got \\['z'\\]"),
    ):
        with pytest.raises(BadConfig, match=match):
            world.run(tmp_path / match[:14], world.flow(parts=parts), engine)


def test_steps_may_ask_other_engines(tmp_path: Path):
    """Each plan goes to the engine with its model, under the same store and budget."""
    first, second = Model(echo), Model(lambda r: json.dumps({"b": f"checked {said(r)}"}), name="scripted/second@1")
    second.licence = "CC-BY-NC-4.0"
    parts = (Ask("write", plan()), Ask("check", plan("a", "b", model="scripted/second@1")))
    made = world.flow({"x": 3}, parts, emits=("a", "b"), text=())
    emitted = world.run(tmp_path, made, first, engines=[second], budget=Budget(calls=6))
    assert all(row.values["b"] == f"checked {row.values['a']}" for row in emitted.rows)
    assert (sum(first.asked.values()), sum(second.asked.values())) == (3, 3)
    assert emitted.rows[0].passport.decoding["check"]["model"] == "scripted/second@1"
    assert emitted.rows[0].passport.licence == "CC-BY-NC-4.0"


def test_a_field_may_be_written_anew(tmp_path: Path):
    """Whoever reads the old value has read it before it changes."""
    parts = (
        Ask("write", plan()),
        Do("look", lambda state: {"seen": state["a"]}, reads=("a",), adds=("seen",), beside=True),
        Do("revise", lambda state: {"a": state["a"] + "!"}, reads=("a",), adds=("a",)),
    )
    emitted = world.run(tmp_path, world.flow({"x": 9}, parts, emits=("a", "seen"), text=()), Model(echo))
    assert all(row.values["a"] == row.values["seen"] + "!" for row in emitted.rows)


def test_a_flow_runs_inside_a_running_loop(tmp_path: Path):
    """As in a notebook."""

    async def notebook():
        return world.run(tmp_path, world.flow({"x": 3}), Model(echo))

    assert len(asyncio.run(notebook()).rows) == 3


def test_shapes_of_flows_are_told_apart():
    """Keys follow parts, plans and settings, and nothing else."""
    assert world.flow().key == world.flow().key
    others = [
        world.flow(seed=1),
        world.flow(attempts=4),
        world.flow(parts=(Ask("write", plan(temperature=0.1)),)),
        world.flow(parts=(Ask("write", plan(), samples=2),)),
    ]
    assert len({each.key for each in (world.flow(), *others)}) == 5
    assert Field("q", world.TEXT) in plan().shape.inputs


def test_the_page_on_flows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Word for word, with a scripted model in the place of the endpoint."""
    import re

    import stillroom.engines

    def reply(request):
        key = "reply" if "Give reply" in str(request.system) else "question"
        return json.dumps({key: f"{said(request)}, asked as number {request.config.seed}?"})

    page = (Path(__file__).parents[2] / "docs" / "flows.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec: Model(reply))
    Path("questions.jsonl").write_text('{"question": "Where is my card?"}\n{"question": "And now?"}\n')
    found: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "flows.md", "exec"), found)
    assert capsys.readouterr().out == "60 []\n"
    assert Counter(row.values["topic"] for row in found["emitted"].rows) == {"cards": 40, "loans": 20}
    assert len(found["answers"].rows) == 2
