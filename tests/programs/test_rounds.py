"""Rounds: who is trained on what, who takes whose place, when it ends, and what a crash costs (nothing)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BadData, FingerprintChanged, RunLocked
from stillroom.evals import exact
from stillroom.programs.plan import Plan
from stillroom.programs.published import Rounds, preset, presets
from stillroom.programs.rounds import JOURNAL, HeldOut, Iterated, iterate
from stillroom.signatures import Example, Shape
from stillroom.signatures.shape import Field

ROWS = [{"instruction": f"Say the number {at}.", "response": f"It is {at}."} for at in range(6)]


class Crash(BaseException):
    """The process is gone: nothing in between catches it."""


@dataclass
class Shop:
    """Models that are names, a trainer that writes down what it was given, scores by name.

    Attributes:
        scores: Of each model; the last one where there is none.
        crash: Called with the stage at each moment something may end.
        trained: (parent, prompts of the rows, model) of each training that began.
        asked: (model, kind) of each request.
        measured: Models, each time they were.
        closed: Engines that were closed.
    """

    scores: dict[str, float]
    crash: Callable[[str], None] = lambda stage: None
    trained: list[tuple[str, list[str], str]] = field(default_factory=list)
    rows: list[list[dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def open(self, name: str) -> ScriptedEngine:
        def answer(request: Any) -> str:
            self.crash(f"ask {name}")
            self.asked.append(name)
            text = str(request.messages[-1].text)
            if "Reasoning" in text or "rubric:" in text:
                return json.dumps({"feedback": f"by {name}", "score": 1 + sum(map(ord, text)) % 5})
            return json.dumps({"response": f"{name} says {len(self.asked)}"})

        shop = self

        class Engine(ScriptedEngine):
            def close(self) -> None:
                shop.closed.append(name)
                super().close()

        return Engine(answer, name=name)

    def train(self, parent: str, rows: Path, into: Path) -> str:
        made = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
        model = f"m{len({each for _, _, each in self.trained}) + 1}"
        self.crash(f"train {model}")
        self.trained.append((parent, [each["meta"]["round"] for each in made], model))
        self.rows.append(made)
        return model

    def score(self, engine: Any, run: Path) -> float:
        name = engine.model.split("/")[1].split("@")[0]
        self.crash(f"measure {name}")
        self.measured.append(name)
        return self.scores[name]

    def run(self, folder: Path, recipe: str = "spin", **settings: Any) -> Iterated:
        settings = {"given": {"prompts": ROWS}, "rows": 3, **settings}
        return iterate(recipe, self.train, folder, base="m0", stop=self.score, models=self.open, **settings)


RISING = {f"m{at}": at / 10 for at in range(9)}
PAIRS = {"rows": 3, "given": {"prompts": ROWS}}


@pytest.mark.acceptance("2.21 D1")
@pytest.mark.parametrize(
    ("rounds", "parents", "data", "roles"),
    [
        # SPIN: previous, last two
        (Rounds(3, "previous", "last two", ("student",)), "m0 m1 m2", [[1], [1, 2], [2, 3]], ["m0 m0", "m1 m0", "m2 m0"]),
        # ReST-EM: base, last
        (Rounds(3, "base", "last", ("student",)), "m0 m0 m0", [[1], [2], [3]], ["m0 m0", "m1 m0", "m2 m0"]),
        # instruction backtranslation: base, seed and last, judge refreshed, 2
        (
            Rounds(2, "base", "last", ("judge",), {"source": "prompts", "prompt": "instruction", "chosen": "response", "rejected": "instruction"}),
            "m0 m0", [[1], [2]], ["m0 m0", "m0 m1"],
        ),
        # Self-Rewarding: previous, last, judge refreshed, 3
        (Rounds(3, "previous", "last", ("student", "judge")), "m0 m1 m2", [[1], [2], [3]], ["m0 m0", "m1 m1", "m2 m2"]),
        # SteerLM step 4: previous, 1
        (Rounds(1, "previous", "last", ("student",)), "m0", [[1]], ["m0 m0"]),
        # Llama 3.1: 6
        (Rounds(6, "previous", "last", ("student",)), "m0 m1 m2 m3 m4 m5", [[at] for at in range(1, 7)],
         [f"m{at} m0" for at in range(6)]),
        (Rounds(3, "previous", "all", ("student",)), "m0 m1 m2", [[1], [1, 2], [1, 2, 3]], ["m0 m0", "m1 m0", "m2 m0"]),
    ],
)  # fmt: skip
def test_each_round_has_its_parent_its_data_and_its_judge(rounds, parents, data, roles, tmp_path):
    """Parent, rows and roles of every round as the table of systems has them, seen by the trainer and the engines."""
    shop = Shop(RISING)
    made = shop.run(tmp_path, rounds=rounds, roles={"student": "m0", "judge": "m0"})
    assert [each.parent for each in made.rounds] == parents.split()
    assert [parent for parent, _, _ in shop.trained] == parents.split()
    assert [list(each.data) for each in made.rounds] == data
    assert [f"{each.roles['student']} {each.roles['judge']}" for each in made.rounds] == roles
    seeds = 6 if rounds.seeds else 0
    for (_, trained_on, _), wanted in zip(shop.trained, data, strict=True):
        assert trained_on == [0] * seeds + [number - 1 for number in wanted for _ in range(3)]
    assert shop.asked == [each.split()[0] for each in roles for _ in range(3)]
    assert made.model == f"m{rounds.rounds}"
    assert made.ended == f"all {rounds.rounds} rounds are done"


TABLE = {
    "spin": (4, "previous", "last two", {"student"}, False),
    "self-rewarding": (3, "previous", "last", {"student"}, False),
    "humpback": (2, "base", "last", {"judge"}, True),
    "rest-em-math": (3, "base", "last", {"teacher"}, False),
    "rest-em-code": (3, "base", "last", {"teacher"}, False),
    "steerlm": (1, "previous", "last", {"student"}, False),
    "llama3-execution-feedback": (6, "previous", "last", {"teacher"}, False),
}


@pytest.mark.acceptance("2.21 D1")
@pytest.mark.parametrize("name", sorted(TABLE))
def test_presets_are_iterated_as_published(name):
    """Every preset that has rounds is in the table, with its settings; its roles are asked, and its judge is who should be."""
    assert {each for each in presets() if preset(each).rounds is not None} == set(TABLE)
    shown, wanted = preset(name), TABLE[name]
    found = shown.rounds
    assert found is not None
    assert (found.rounds, found.restart, found.data, set(found.refresh), bool(found.seeds)) == wanted
    method = shown.load()
    asked = {shown.call(call).role for call in method.calls} | {*shown.params.get("sources", ())}
    assert set(found.refresh) <= asked
    if found.seeds:
        assert found.seeds["source"] in method.given


def test_the_self_rewarding_judge_is_the_newest_model(tmp_path):
    """All calls of each round go to the model of the round before; it alone answers and judges."""
    shop = Shop(RISING)
    made = shop.run(tmp_path, "self-rewarding")
    assert [each.roles["student"] for each in made.rounds] == ["m0", "m1", "m2"]
    assert sorted(set(shop.asked)) == ["m0", "m1", "m2"]
    assert shop.asked == sorted(shop.asked)
    assert {
        each["meta"]["rows"][0]["passport"]["decoding"]["answer 0"]["model"].split("@")[0] for each in shop.rows[2]
    } == {"scripted/m2"}


STAGES = [
    "measure m0", "ask m0", "train m1", "measure m1", "ask m1", "train m2", "measure m2", "ask m2", "train m3", "measure m3",
]  # fmt: skip


@pytest.mark.acceptance("2.21 D1")
@pytest.mark.parametrize("stage", STAGES)
def test_a_crash_resumes_at_the_same_round(stage, tmp_path):
    """Wherever it ends, the second call does the rest and nothing twice: same journal, each call and training once."""
    plan = Rounds(3, "previous", "last two")
    whole = Shop(RISING)
    wanted = whole.run(tmp_path / "whole", rounds=plan)
    shop, left = Shop(RISING), [stage]

    def crash(now: str) -> None:
        if left == [now] and (not now.startswith("ask") or shop.asked.count(now[4:]) == 2):
            left.clear()
            raise Crash

    shop.crash = crash
    with pytest.raises(Crash):
        shop.run(tmp_path / "cut", rounds=plan)
    assert not left
    assert shop.run(tmp_path / "cut", rounds=plan) == wanted
    assert shop.trained == whole.trained
    assert shop.measured == whole.measured
    assert sorted(shop.asked) == sorted(whole.asked)
    read = [json.loads((tmp_path / name / JOURNAL).read_text()) for name in ("whole", "cut")]
    assert read[0] == read[1]
    # what was said depends on how many calls came before, which is the same too
    assert [[each["chosen"] for each in some] for some in shop.rows] == [
        [each["chosen"] for each in some] for some in whole.rows
    ]


def test_the_loop_ends_with_the_first_round_without_gain_and_keeps_the_best(tmp_path):
    """Scores that rise, rise and fall end in the third round, and the second one's model is what comes of it."""
    shop = Shop({"m0": 0.5, "m1": 0.6, "m2": 0.7, "m3": 0.7, "m4": 0.9})
    made = shop.run(tmp_path, rounds=Rounds(6))
    assert (made.model, made.best, len(made.rounds)) == ("m2", 2, 3)
    assert made.ended == "round 3 brought no gain: 0.7000 after 0.7000"
    worse = Shop({"m0": 0.5, "m1": 0.4})
    made = worse.run(tmp_path / "worse", rounds=Rounds(6))
    assert (made.model, made.best, made.base_score, len(made.rounds)) == ("m0", 0, 0.5, 1)


def test_a_finished_loop_is_read_back(tmp_path):
    """Called again nothing is asked, trained or measured; every engine that was opened is closed."""
    shop = Shop(RISING)
    first = shop.run(tmp_path, rounds=Rounds(2))
    done = (list(shop.asked), list(shop.trained), list(shop.measured))
    assert shop.run(tmp_path, rounds=Rounds(2)) == first
    assert (shop.asked, shop.trained, shop.measured) == done
    assert set(shop.closed) == {"m0", "m1", "m2"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rounds": Rounds(3)}, "rounds"),
        ({"rows": 2}, "rows"),
        ({"given": {"prompts": ROWS[:5]}}, "recipe"),
        ({"seed": 1}, "recipe"),
        ({"roles": {"judge": "m7"}}, "roles"),
    ],
)
def test_a_folder_that_was_begun_with_something_else_is_refused(change, what, tmp_path):
    """Another plan, source, seed or model is another loop."""
    shop = Shop(RISING)
    shop.run(tmp_path, rounds=Rounds(1))
    with pytest.raises(FingerprintChanged, match=f"begun with another .*{what}"):
        shop.run(tmp_path, **{"rounds": Rounds(1), **change})


def test_what_cannot_work_is_said_before_anything_is_asked(tmp_path):
    """A preset without rounds, seeds of no source, rows without gold: refused, and no engine is opened."""
    shop = Shop(RISING)
    with pytest.raises(BadConfig, match="does not say how it is iterated"):
        shop.run(tmp_path / "a", "nectar")
    with pytest.raises(BadConfig, match="no source 'people'"):
        shop.run(tmp_path / "b", rounds=Rounds(1, seeds={"source": "people", "prompt": "instruction"}))
    with pytest.raises(BadData, match="must have a `response`"):
        shop.run(tmp_path / "c", given={"prompts": [{"instruction": "Hello?"}]})
    assert (shop.asked, shop.measured, shop.closed) == ([], [], [])


def test_two_loops_in_one_folder_are_one_too_many(tmp_path):
    """While one is under way another one of the same folder is refused."""
    shop = Shop(RISING)

    def again(stage: str) -> None:
        if stage == "train m1":
            with pytest.raises(RunLocked):
                Shop(RISING).run(tmp_path, rounds=Rounds(1))

    shop.crash = again
    assert shop.run(tmp_path, rounds=Rounds(1)).model == "m1"


def test_a_model_that_cannot_be_opened_is_not_taken_for_one(tmp_path):
    """What the trainer named is opened before it is written down: trained anew, the loop goes on."""
    shop = Shop(RISING)
    opened, broken = shop.open, [True]

    def open_it(name: str) -> ScriptedEngine:
        if name == "m1" and broken:
            broken.clear()
            raise BadConfig("no such model")
        return opened(name)

    shop.open = open_it  # type: ignore[method-assign]
    with pytest.raises(BadConfig, match="no such model"):
        shop.run(tmp_path, rounds=Rounds(1))
    assert "model" not in json.loads((tmp_path / JOURNAL).read_text())["rounds"][0]
    shop.trained.clear()
    assert shop.run(tmp_path, rounds=Rounds(1)).model == "m1"


@pytest.mark.parametrize(
    "table",
    [{}, {"rounds": 0}, {"rounds": True}, {"rounds": 2, "restart": "best"}, {"rounds": 2, "data": "first"},
     {"rounds": 2, "refresh": "judge"}, {"rounds": 2, "often": 1}, {"rounds": 2, "seeds": {"source": "a"}}],
)  # fmt: skip
def test_tables_that_make_no_sense_are_refused(table):
    """Each with its rule."""
    with pytest.raises(BadConfig):
        Rounds.read(table)


def test_held_out_rows_are_scored_once_and_kept(tmp_path):
    """The mean over labelled rows; a second look asks nobody, and another measure has another name."""
    shape = Shape(
        "Double", "Double the number.", (Field("n", {"type": "string"}, ""),), (Field("twice", {"type": "string"}, ""),)
    )
    rows = [Example(str(at), {"n": str(at)}, {"twice": str(2 * at)}) for at in range(4)]
    measure = HeldOut(Plan(shape, "", "Double the number."), rows, exact("twice"))
    engine = ScriptedEngine({str(at): json.dumps({"twice": str(2 * at if at else 7)}) for at in range(4)})
    assert measure(engine, tmp_path) == 0.75
    served = engine.served
    assert measure(engine, tmp_path) == 0.75
    assert engine.served == served == 4
    assert replace(measure, rows=rows[:2]).name != measure.name
