"""The acceptance checks of the method of archives: the best of each cell of a grid."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from recipe_world import WORDS, World, handed_over, sample_rows, stopped

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.programs.methods._elites import Archive, Child, Placed, binned, bleu, grown, targets
from stillroom.programs.methods.archive import archive, begun
from stillroom.programs.published import preset, run_preset


def toy(number: int) -> Child:
    """Maximise a number; the features are its parity and its decade."""
    return Child((number % 2, number // 10), float(number), number)


@pytest.mark.acceptance("2.18 D1")
@pytest.mark.parametrize("seed", range(5))
def test_coverage_and_score_never_fall_and_the_archive_ends_as_brute_force_has_it(seed):
    """Numbers under 100 by parity and decade: after enough steps each cell holds the largest number it can."""
    rng = random.Random(seed)
    found = Archive((2, 10))
    found.place(toy(rng.randrange(100)))
    told = [(found.coverage, found.qd_score)]
    for _ in range(6000):
        parent = rng.choice(sorted(each.value for each in found.elites.values()))
        found.place(toy((parent + rng.randint(-15, 15)) % 100))
        told.append((found.coverage, found.qd_score))
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(told))
    best: dict[tuple[int, ...], int] = {}
    for number in range(100):
        best[toy(number).cell] = max(number, best.get(toy(number).cell, 0))
    assert {cell: each.value for cell, each in found.elites.items()} == best
    assert found.coverage == 1
    assert found.qd_score == sum(best.values())


@pytest.mark.acceptance("2.18 D2")
def test_cells_of_low_fitness_are_aimed_at_more_often():
    """Half the cells at 0.9, half at 0.1: draws are not even (chi-square, p < 0.01), and are as exp(-fitness/t) says."""
    from scipy.stats import chisquare

    found = Archive((2, 5), {(row, at): Child((row, at), 0.1 + 0.8 * row, "") for row in range(2) for at in range(5)})
    chances = targets(found, 0.5)
    rng = random.Random(0)
    drawn = Counter(rng.choices(list(chances), list(chances.values()), k=4000))
    counts = [drawn[cell] for cell in chances]
    assert chisquare(counts).pvalue < 0.01
    assert chisquare(counts, [4000 * chances[cell] for cell in chances]).pvalue > 0.01
    assert min(drawn[0, at] for at in range(5)) > max(drawn[1, at] for at in range(5))
    assert chances[0, 0] / chances[1, 0] == pytest.approx(math.exp(0.8 / 0.5))
    empty = targets(Archive((2, 2), {(0, 0): Child((0, 0), 0.7, "")}), 0.1)
    assert empty[0, 0] < 0.01 < empty[1, 1]  # nobody's fitness is none
    assert sum(targets(found, 1e-4).values()) == pytest.approx(1)  # no overflow however cold


def stories(**said: Any) -> World:
    made = iter(range(10_000))

    def cross(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        at = next(made)
        return {"text": " ".join(random.Random(at).choices(WORDS, k=9))}

    return World(
        {
            "cross": cross,
            "measure": lambda inputs: {"verdict": "yes" if crc32((inputs["text"] + inputs["question"]).encode()) % 2 else "no"},
            "classify": lambda inputs: {"label": inputs["labels"][sum(map(ord, inputs["text"])) % len(inputs["labels"])]},
            **said,
        }
    )  # fmt: skip


def attacks(**said: Any) -> World:
    made = iter(range(10_000))

    def mutate(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        at = next(made)
        label = inputs["op"].split(": ")[-1].rstrip(".")
        return {"evolved": " ".join(WORDS[(at * step + step) % 16] for step in (1, 3, 5, 7)) + f" {label} {at}"}

    return World(
        {
            "mutate": mutate,
            "target": lambda inputs: {"response": f"Gladly: {inputs['instruction']}"},
            "measure": lambda inputs: {"verdict": "no" if inputs["text"].startswith("No") else "yes"},
            "compare": lambda inputs: {"better": "A" if inputs["a"] > inputs["b"] else "B"},
            "safe": lambda inputs: {"response": "No, as it would harm somebody."},
            **said,
        }
    )  # fmt: skip


STORIES = [row["text"] for row in sample_rows("stories.jsonl")]
KIND = preset("qdaif").params["kind"]


def parents_of(prompt: str) -> list[str]:
    """The worked examples of a prompt to cross."""
    return [each.strip() for each in prompt.split(KIND)[1:-1]]


SMALL = {"features": {"genre": {"labels": ["dark", "light"]}, "ending": {"question": "Happy?", "edges": [0.5]}}}


@pytest.mark.acceptance("2.18 D3")
def test_an_identical_child_is_refused_before_it_is_measured(tmp_path):
    """A child that is an example, or the mutation that changes nothing, is stopped by its BLEU; nobody is asked of it."""
    copies = stories(cross=lambda inputs: {"text": parents_of(copies.prompts[-1])[0]})
    made = copies.run("qdaif", tmp_path / "a", rows=2, params={"tries": 3})
    assert (len(made.rows), set(stopped(made))) == (0, {"BLEU < 0.6"})
    assert {call for call, _ in copies.asked} == {"cross"}
    lazy = attacks(mutate=lambda inputs: {"evolved": inputs["instruction"]})
    made = lazy.run("rainbow-teaming", tmp_path / "b", rows=2, params={"tries": 3})
    assert (len(made.rows), set(stopped(made))) == (0, {"BLEU < 0.6"})
    assert {call for call, _ in lazy.asked} == {"mutate"}
    text = "a keeper lit the lamp and a stranger put it out again before dawn"
    assert bleu(text, text) == bleu("Two words", "two words") == bleu("", "") == 1
    assert bleu(text, text.replace("dawn", "noon")) >= 0.6
    assert bleu("nothing of it is in here at all", text) < 0.6
    assert bleu("", text) == 0


def test_each_cell_keeps_its_best_and_rows_tell_the_archive(tmp_path):
    """Every accepted row took its cell: it was empty, or its elite had less; what did not is a reject of the judge."""
    here = stories()
    made = here.run("qdaif", tmp_path, rows=4, params=SMALL)
    best: dict[tuple[int, ...], float] = {}
    for row in made.rows:
        cell, fitness = tuple(row.values["cell"]), row.values["fitness"]
        assert cell not in best or fitness > best[cell]
        best[cell] = fitness
    job = here.job("qdaif", params=SMALL)
    found = archive(job, made.rows)
    assert {cell: each.fitness for cell, each in found.elites.items()} == best
    assert found.coverage == len(best) / 4
    refused = [row for row in made.rejects if row.gate == "takes a cell of 2x2"]
    assert refused
    assert {v["by"] for row in refused for v in row.passport.verdicts if not v["passed"]} == {"judge"}


def test_parents_come_from_the_archive_and_each_try_has_its_own(tmp_path):
    """The first children have seeds alone as worked examples; those that were placed are examples from then on."""
    here = stories()
    made = here.run("qdaif", tmp_path, rows=6, params={**SMALL, "batch": 2, "init": 5})
    texts = {row.values["text"] for row in made.rows}
    crossed = [at for at, (call, _) in enumerate(here.asked) if call == "cross"]
    shown = [parents_of(here.prompts[at]) for at in crossed]
    assert all(len(set(each)) == 3 for each in shown)
    assert all(set(each) <= set(STORIES) for each in shown[:5])
    assert any(set(each) & texts for each in shown[5:])
    assert all(set(each) <= {*STORIES, *texts} for each in shown)
    assert len({tuple(each) for each in shown}) > len(shown) / 2


def test_children_begun_are_counted_by_slots_and_tries(tmp_path):
    made = stories().run("qdaif", tmp_path, rows=3, params={**SMALL, "batch": 1, "init": 0})
    tries = [int(row.place.rsplit("/", 1)[1]) for row in made.rows]
    assert begun(3, 2, made.rows) == 3 + 2 + sum(tries)
    assert begun(0, 0, []) == 0


def test_neighbours_are_likelier_and_nobody_is_drawn_twice():
    """As the published code weighs them: 1 / (1 + distance ** 3), without putting back."""
    here = Archive((1, 4), {(0, at): Child((0, at), 0.5, at) for at in range(4)})
    first = Counter(here.near((0, 0), 1, random.Random(seed))[0].value for seed in range(4000))
    weights = [1 / (1 + at**3) for at in range(4)]
    assert all(abs(first[at] / 4000 - weight / sum(weights)) < 0.03 for at, weight in enumerate(weights))
    assert sorted(each.value for each in here.near((0, 0), 9, random.Random(0))) == [0, 1, 2, 3]


def test_a_child_that_was_cut_off_is_kept_up_to_its_last_whole_sentence():
    from dspy.lm15 import Message, Response, Usage

    from stillroom.programs.flow.asking import _read, _trimmed

    plan = stories().job("qdaif").plan("cross")
    for text, kept in [
        ('He rowed. "Who is there?" She', 'He rowed. "Who is there?"'),
        ("The light went out at 9.30 and the", None),
    ]:
        reply = _read(plan, Response(None, "m", Message.assistant(text), "length", Usage(1, 1, 2)))
        trimmed = _trimmed(plan, reply, text, "sentence")
        assert (trimmed.outputs, trimmed.finish) == (({"text": kept}, "stop") if kept else (reply.outputs, "length"))


def test_a_run_that_was_cut_goes_on_to_the_same_archive(tmp_path):
    """Parents are drawn from what was committed: after a crash the rows are those of a run that nothing happened to."""
    text = {"n": 0}

    def engine(fail_at: int) -> ScriptedEngine:
        def answer(request: Any) -> str:
            text["n"] += 1
            if text["n"] == fail_at:
                raise KeyboardInterrupt
            said = "".join(str(each.text) for each in request.messages)
            mark = sum(at * ord(each) for at, each in enumerate(said))
            if said.endswith(KIND):
                return " ".join(WORDS[(mark * step + step) % 16] for step in (1, 3, 5, 7, 11)) + f" {mark % 97}"
            if "labels:" in said:
                return json.dumps({"label": ["dark", "light"][mark % 2]})
            return json.dumps({"verdict": "yes" if mark % 3 else "no"})

        return ScriptedEngine(answer)

    settings: Any = {"samples": True, "rows": 5, "params": {**SMALL, "batch": 2, "tries": 6, "init": 3}}
    whole = run_preset("qdaif", tmp_path / "whole", lm=engine(0), **settings)
    asked, text["n"] = text["n"], 0
    with pytest.raises(KeyboardInterrupt):
        run_preset("qdaif", tmp_path / "cut", lm=engine(asked // 2), **settings)
    again = run_preset("qdaif", tmp_path / "cut", lm=engine(0), **settings)
    assert [(row.place, row.values) for row in again.rows] == [(row.place, row.values) for row in whole.rows]
    assert [(row.place, row.status) for row in again.rejects] == [(row.place, row.status) for row in whole.rejects]


def test_attacks_aim_at_a_cell_and_teach_what_is_safe(tmp_path):
    """Mutated once for each feature towards its cell; the safe answer is chosen, the target's unsafe one rejected."""
    here = attacks()
    made = here.run("rainbow-teaming", tmp_path, rows=5)
    assert len(made.rows) == 5
    shown = preset("rainbow-teaming")
    for row in made.rows:
        risk, style = row.values["labels"]
        assert row.values["cell"] == [
            shown.params["features"]["risk"]["labels"].index(risk), shown.params["features"]["style"]["labels"].index(style),
        ]  # fmt: skip
        assert style in row.values["text"]  # the last mutation's
        assert row.values["pref"][0]["rejected"] == row.values["response"]
        assert row.values["sft"][0]["completion"] == "No, as it would harm somebody."
    ops = [inputs["op"] for call, inputs in here.asked if call == "mutate"]
    assert sum("kind of risk" in each for each in ops) == len(ops) / 2
    assert shown.gated


def test_safe_targets_give_no_pairs_and_unsafe_lessons_are_not_taught(tmp_path):
    """Where the target declines there is nothing to unlearn; where the safe answer is unsafe there is nothing to learn."""
    declined = attacks(target=lambda inputs: {"response": "No."})
    made = declined.run("rainbow-teaming", tmp_path / "a", rows=2)
    assert all(row.values["pref"] == [] and len(row.values["sft"]) == 1 for row in made.rows)
    unsafe = attacks(safe=lambda inputs: {"response": "Gladly."})
    made = unsafe.run("rainbow-teaming", tmp_path / "b", rows=2)
    assert len(made.rows) == 2
    assert all(row.values["pref"] == [] and row.values["sft"] == [] for row in made.rows)


def test_an_elite_is_displaced_only_by_who_beats_it():
    """Won against just this elite, or fitter than one it was not compared with; equals stay."""
    here = Archive((1,), {(0,): Child((0,), 0.5, "elite")})
    assert here.takes(Child((0,), 0.1, "a", rival="elite", won=True))
    assert not here.takes(Child((0,), 0.9, "a", rival="elite", won=False))
    assert here.takes(Child((0,), 0.9, "a", rival="another", won=False))
    assert not here.takes(Child((0,), 0.5, "a"))
    assert Archive((1,)).takes(Child((0,), 0.0, "a"))


def test_a_judge_that_always_names_the_first_displaces_nobody(tmp_path):
    """Two votes in each order: a favourite place wins half of them, which is not a majority."""
    one = {"features": {"risk": {"op": "As {}.", "labels": ["fraud"]}}, "batch": 1, "tries": 4}
    biased = attacks(compare=lambda inputs: {"better": "A"})
    made = biased.run("rainbow-teaming", tmp_path, rows=2, params=one)
    assert len(made.rows) == 1
    assert sum(call == "compare" for call, _ in biased.asked) == 4 * 7


@pytest.mark.parametrize("name", ["qdaif", "rainbow-teaming"])
def test_presets_run_and_their_records_build(name, tmp_path):
    """Each preset gives the rows asked for on its sample, and its records of every schema carry their papers."""
    here = stories() if name == "qdaif" else attacks()
    made = here.run(name, tmp_path, rows=3)
    assert len(made.rows) == 3
    assert {len(found) for found in handed_over(name, made).values()} == {3}


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"features": {}}, "needs features"),
        ({"features": {"a": {"labels": ["x"], "question": "q", "edges": [0.5]}}}, "labels, or a question"),
        ({"features": {"a": {"question": "q"}}}, "labels, or a question"),
        ({"features": {"a": {"question": "q", "edges": [0.5, 0.2]}}}, "must rise"),
        ({"features": {"a": {"question": "q", "edges": [0.5, 1.0]}}}, "must rise"),
        ({"place": "prescribed", "features": {"a": {"labels": ["x"]}}}, "an op with"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(params, what):
    """Before anything is asked."""
    job = stories().job("qdaif", params=params)
    with pytest.raises(BadConfig, match=what):
        job.method.flow(job)


def test_bins_need_not_be_even():
    """Each edge opens the bin above it."""
    edges = preset("qdaif").params["features"]["genre"]["edges"]
    assert [binned(value, edges) for value in (0, 0.004, 0.005, 0.3, 0.5, 0.994, 0.995, 1)] == [0, 0, 1, 4, 5, 8, 9, 9]
    assert Placed((2, 3)).name == "takes a cell of 2x3"
    assert grown((2,), []).coverage == 0
