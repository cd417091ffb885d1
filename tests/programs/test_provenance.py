"""Where rows come from and who checked them: licences, versions, copies, doubts and policies of an emission."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scripted_world as world
from dspy.lm15 import Message, Response, Usage

import stillroom as st
from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import FingerprintChanged, LicenceForbids
from stillroom.evals import gates
from stillroom.optimizers.program import Program
from stillroom.optimizers.systems import HeadSystem
from stillroom.optimizers.task_subject import baseline_plan
from stillroom.programs import Emitted, blind, emit_rows
from stillroom.programs.export import read_emitted, save_emitted
from stillroom.programs.provenance import provenance
from stillroom.release import Override, Purpose
from stillroom.signatures import DataWarning
from stillroom.store import Store

FEW = st.recipes.labelled(per_label=4)


def task(**settings) -> st.Task:
    """The world's task, declared further."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return st.Task(world.Topic, world.rows(), st.exact("topic"), name="world", seed=3, **settings)


TASK = task()


def program(folder: Path, of: st.Task = TASK, engine: ScriptedEngine | None = None) -> Program:
    """The baseline as a compiled program."""
    engine = engine or world.engine()
    plan = baseline_plan(of, engine.model)
    return Program(of, plan, plan, engine, folder)


def usual(of: st.Task, bound: Program, **settings) -> list:
    """The default gates with agreement by the program, and no model files."""
    return gates.default(of, blind(bound.plan, bound.engine, of.metric), **settings)


def emit(folder: Path, of: st.Task = TASK, engine: ScriptedEngine | None = None, recipe=FEW, **settings) -> Emitted:
    made, embedder = program(folder, of, engine), world.WordEmbedder()
    return made.emit(recipe, gates=usual(of, made, embedder=embedder), embedder=embedder, **settings)


# -- licences ---------------------------------------------------------------------------


def licensed(name: str) -> ScriptedEngine:
    engine = world.engine()
    engine.licence = name
    return engine


def test_rows_inherit_the_strictest_licence_and_the_ledger_says_from_whom(tmp_path: Path):
    """QR-14: of teacher and data; the passport has it, parents and ledger name it."""
    of = task(licence="CC-BY-SA-4.0")
    emitted = emit(tmp_path, of, licensed("Apache-2.0"))
    assert {row.passport.licence for row in emitted.rows} == {"CC-BY-SA-4.0"}
    found = emitted.provenance
    assert found.licence == "CC-BY-SA-4.0"
    assert [(each.what, each.licence, each.declared) for each in found.sources] == [
        ("teacher", "Apache-2.0", True),
        ("labelled rows", "CC-BY-SA-4.0", True),
    ]
    assert [(each.licence, each.rows) for each in found.ledger] == [("CC-BY-SA-4.0", len(emitted.rows))]
    undeclared = emit(tmp_path / "other", TASK, licensed("Apache-2.0")).provenance
    assert undeclared.licence == "Apache-2.0"
    assert any("No licence is declared" in note for note in undeclared.notes)


@pytest.mark.parametrize(
    ("name", "of", "purpose", "why"),
    [
        ("unknown", TASK, None, "the terms of unknown are not known"),
        ("LicenseRef-openai-terms", TASK, None, "its terms forbid training on the output"),
        ("LicenseRef-llama2", TASK, Purpose(student="qwen2"), "it allows llama students only, got 'qwen2'"),
        ("Apache-2.0", task(licence="CC-BY-NC-4.0"), Purpose(commercial=True), "it allows no commercial use"),
        ("Apache-2.0", task(licence="House rules"), None, "the terms of House rules are not known"),
    ],
)
def test_what_a_licence_forbids_is_refused_before_any_call(tmp_path: Path, name, of, purpose, why):
    """QR-14: with licence, reason and mend; nothing is asked and nothing is written."""
    engine = licensed(name)
    with pytest.raises(LicenceForbids, match="rows may be emitted only where every licence allows it") as caught:
        emit(tmp_path / "run", of, engine, purpose=purpose)
    assert why in str(caught.value)
    assert "override" in caught.value.mend
    assert engine.served == 0
    assert not (tmp_path / "run").exists()


def test_an_override_lets_rows_out_and_is_recorded(tmp_path: Path):
    """QR-14: in the run's store, in the provenance, and as a warning that stays."""
    word = Override("unknown", by="R. Shah", why="the maker agreed by letter", when="2026-03-01")
    emitted = emit(tmp_path, engine=licensed("unknown"), overrides=[word])
    assert emitted.rows
    assert emitted.provenance.overrides == (word,)
    assert "licence unknown is used on the word of R. Shah" in emitted.provenance.warnings
    with Store(tmp_path) as store:
        assert store.notes("override")["unknown"]["why"] == "the maker agreed by letter"
    assert read_emitted(tmp_path / "rows.jsonl") == list(emitted.rows)


def test_rows_are_not_saved_where_a_licence_forbids_it(tmp_path: Path):
    """QR-14: asked again where rows are written, whoever calls; no file is left behind."""
    emitted = emit(tmp_path / "run", engine=licensed("LicenseRef-llama2"), purpose=Purpose(student="llama"))
    with pytest.raises(LicenceForbids, match="rows may be saved only"):
        save_emitted(emitted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_student_is_trained_where_a_licence_forbids_it(tmp_path: Path):
    """QR-14: a Llama-2 teacher and another student; labelled rows count as well; nothing is written."""
    emitted = emit(tmp_path / "run", engine=licensed("LicenseRef-llama2"), purpose=Purpose(student="llama"))
    with pytest.raises(LicenceForbids, match=r"a student minilm\+logreg may be trained only .* got 'minilm'"):
        st.distil(TASK, emitted.rows, folder=tmp_path / "student")
    with pytest.raises(LicenceForbids, match="no commercial use"):
        st.distil(task(licence="CC-BY-NC-4.0"), folder=tmp_path / "student", purpose=Purpose(commercial=True))
    assert not (tmp_path / "student").exists()


def test_a_student_trained_on_somebodys_word_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """QR-14: on its card; without an override the card claims none."""
    head = HeadSystem("student", None, TASK.shape)
    # by its module: the package's own `distil` is the function
    monkeypatch.setattr(import_module("stillroom.optimizers.distil"), "_train_head", lambda *_: head)
    emitted = emit(tmp_path / "run", engine=licensed("LicenseRef-llama2"), purpose=Purpose(student="llama"))
    word = Override("LicenseRef-llama2", by="R. Shah", why="a letter of May")
    st.distil(TASK, emitted.rows, folder=tmp_path / "student", overrides=[word])
    assert json.loads((tmp_path / "student" / "card.json").read_text())["overrides"] == [asdict(word)]
    st.distil(TASK, folder=tmp_path / "seed")
    assert "overrides" not in json.loads((tmp_path / "seed" / "card.json").read_text())


# -- versions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "settings", "named"),
    [
        (TASK, {}, "gate 5 was 'decontamination("),
        (
            task(licence="CC-BY-4.0"),
            {"embedder": world.WordEmbedder()},
            "licence was 'LicenseRef-own-data', is 'CC-BY-4.0'",
        ),
    ],
)
def test_a_resume_with_other_gates_or_licences_is_refused(tmp_path: Path, of, settings, named):
    """QR-2: the run's own claim locks them; the message names what changed, and nothing is asked."""
    first = emit(tmp_path)
    engine = world.engine()
    made = program(tmp_path, of, engine)
    with pytest.raises(FingerprintChanged) as caught:
        made.emit(FEW, gates=usual(of, made, **settings))
    assert named in str(caught.value)
    assert engine.served == 0
    assert emit(tmp_path).rows == first.rows


def test_a_resume_with_another_benchmark_or_judge_is_refused(tmp_path: Path):
    """QR-2: the texts that are guarded, and the plan and model that judge, are part of what a run is."""
    emit(tmp_path)
    (tmp_path / "bench.txt").write_text("Which planet of the solar system has the most moons today\n")
    with pytest.raises(FingerprintChanged, match="gate 5 was"):
        emit(tmp_path, task(benchmarks=[tmp_path / "bench.txt"]))
    made = program(tmp_path)
    other = usual(TASK, replace(made, engine=ScriptedEngine(world.answer, name="other")), embedder=world.WordEmbedder())
    with pytest.raises(FingerprintChanged, match=r"gate 6 was 'agreement\(plan .* on scripted/world@"):
        made.emit(FEW, gates=other)


def test_an_endpoint_that_changes_its_model_splits_the_run(tmp_path: Path):
    """QR-2: each row's passport tells the version that wrote it, and the policy names both."""
    answered = []

    def answer(request):
        answered.append(request)
        version = "fp_1" if len(answered) <= 20 else "fp_2"
        said = Message.assistant(world.answer(request))
        usage = Usage(input_tokens=9, output_tokens=9)
        told = {"model": "m-2026", "system_fingerprint": version}
        return Response(
            id=None, model=request.model, message=said, finish_reason="stop", usage=usage, provider_data=told
        )

    engine = ScriptedEngine(answer, name="world")
    emitted = emit(tmp_path, engine=engine, recipe=st.recipes.labelled(per_label=12))
    served = {row.passport.decoding["served"] for row in emitted.rows}
    assert served == {"m-2026 fp_1", "m-2026 fp_2"}
    assert emit(tmp_path, engine=engine, recipe=st.recipes.labelled(per_label=12)).rows == emitted.rows  # recorded too
    found = emitted.provenance.policies["one version"]
    assert "changed under the run: m-2026 fp_1 wrote" in found.why
    assert any(warning.startswith("policy one version:") for warning in emitted.provenance.warnings)


class Things:
    """Embeds a message as the thing it speaks of."""

    digest = "things-v1"

    def embed(self, texts):
        vectors = np.asarray([[1e-3 + (thing in text.lower()) for thing in world.THINGS] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_an_endpoint_that_tells_no_version_is_noted(tmp_path: Path):
    """QR-2: what cannot be locked is said."""
    engine = world.engine()
    engine.model = "http/box/m@live"
    notes = emit(tmp_path, engine=engine).provenance.notes
    assert any("does not say which version of its model answered" in note for note in notes)
    assert not any("which version" in note for note in emit(tmp_path / "pinned").provenance.notes)


# -- people, copies, doubts ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("labelled_by", "judged", "level", "words"),
    [
        ("people", True, 4, "evaluated on human labels"),
        ("machine", True, 5, "No human label was used to verify these rows or to evaluate"),
        ("", True, 5, "nor, as far as is declared, to evaluate"),
        ("people", False, 6, "No human label was used to verify these rows."),
    ],
)
def test_the_level_of_involvement_is_computed_from_verdicts(tmp_path: Path, labelled_by, judged, level, words):
    """QR-16: form rates nothing; who labelled is the task's to say, and silence claims nothing."""
    of = task(labelled_by=labelled_by)
    made = program(tmp_path, of)
    emitted = made.emit(FEW, gates=usual(of, made) if judged else gates.default(of, None))
    assert {verdict["by"] for row in emitted.rows for verdict in row.passport.verdicts} == (
        {"form", "judge"} if judged else {"form"}
    )
    assert emitted.provenance.involvement.level == level
    assert words in emitted.provenance.involvement.statement
    assert any("Nobody says who labelled" in note for note in emitted.provenance.notes) == (not labelled_by)


def test_removed_rows_are_listed_by_id_and_counted_by_rule(tmp_path: Path):
    """QR-8: contamination.jsonl names row, rule, source and text; paraphrases stand in it and stay."""
    texts = [row.inputs["message"] for row in TASK.held_out[:3]]

    def answer(request):
        if "You write realistic examples" in str(request.system) and texts:
            return json.dumps({"message": texts.pop()})
        return world.answer(request)

    made = program(tmp_path, engine=ScriptedEngine(answer, name="world"))
    emitted = made.emit(FEW, gates=usual(TASK, made, embedder=Things()))
    lines = [json.loads(line) for line in (tmp_path / "contamination.jsonl").read_text().splitlines()]
    removed = {line["id"]: (line["rule"], line["source"], line["row"]) for line in lines if line["removes"]}
    assert set(removed) == {row.id for row in emitted.rejects if row.gate == "decontaminated"}
    assert sorted(each[2] for each in removed.values()) == sorted(row.id for row in TASK.held_out[:3])
    assert {each[:2] for each in removed.values()} == {("exact", "world/test")}
    counted = {(each.source, each.rule, each.rows) for each in emitted.provenance.copies if each.removed}
    assert counted == {("world/test", "exact", 3)}
    reported = [line for line in lines if not line["removes"]]
    assert {line["rule"] for line in reported} <= {"paraphrase", "sibling"}
    assert len(reported) == sum(each.rows for each in emitted.provenance.copies if not each.removed)
    assert reported
    assert {line["id"] for line in reported if line["status"] == "accepted"} <= {row.id for row in emitted.rows}


def test_a_gate_on_an_uncertified_judge_is_told(tmp_path: Path):
    """With how many of its rows wait for a person."""
    emitted = emit(tmp_path, recipe=st.recipes.labelled(per_label=12))
    (doubt,) = emitted.provenance.doubtful
    waiting = sum(row.gate == "agreement" for row in emitted.rejects)
    assert (doubt.gate, doubt.why, doubt.waiting) == ("agreement", "its judge has no certificate", waiting)
    assert waiting


# -- policies ---------------------------------------------------------------------------


def test_policies_run_at_the_end_and_are_kept_with_the_run(tmp_path: Path):
    """QR-3, QR-5, QR-6: accounts, verdicts and diversity, in the store and as JSON."""
    emitted = emit(tmp_path, recipe=st.recipes.labelled(per_label=12))
    found = emitted.provenance.as_json()
    assert {each["name"]: each["state"] for each in found["policies"]} == {
        "accounted": "kept",
        "verified": "kept",
        "diverse": "kept",
        "one version": "kept",
    }
    assert found["diversity"]["columns"]["texts"]["rows"] == len(emitted.rows)
    with Store(tmp_path) as store:
        (noted,) = store.notes("provenance").values()
    assert noted == json.loads(json.dumps(found))


def test_a_broken_policy_is_a_warning_and_no_crash(tmp_path: Path):
    """QR-5, QR-6: a row that was lost, one that stands twice, and one whose gate did not pass are all told."""
    made = program(tmp_path)
    passed = usual(TASK, made)
    with open_session(made.engine, tmp_path, "emit", {}) as session:
        emitted = emit_rows(TASK, made.plan, FEW, passed, session)
    first = emitted.rows[0]
    failed = replace(first.passport, verdicts=({**first.passport.verdicts[0], "passed": False},))
    broken = replace(emitted, rows=(replace(first, passport=failed), *emitted.rows[2:], emitted.rows[2]))
    found = provenance(TASK, made.engine, passed, broken)
    assert "stands twice" in found.policies["accounted"].why
    assert f"row {first.id} was accepted though schema did not pass" in found.policies["verified"].why
    assert found.policies["diverse"].score is None
    assert [warning.split(":")[0] for warning in found.warnings[:2]] == ["policy accounted", "policy verified"]
    lost = provenance(TASK, made.engine, passed, replace(emitted, rows=emitted.rows[1:]))
    assert f"{emitted.written} were written, {emitted.written - 1} are accounted for" in lost.policies["accounted"].why


def test_rows_that_are_all_alike_break_diversity(tmp_path: Path):
    """QR-3: a teacher with one sentence, its numbers aside."""

    def answer(request):
        if "You write realistic examples" in str(request.system):
            topic = str(request.messages[-1].text).split("topic: ")[1].split()[0]
            word = world.WORDS[topic][0]
            said = f"please look at the {word} of my last order and tell me what went wrong with it"
            return json.dumps({"message": f"{said} {request.config.seed}"})
        return world.answer(request)

    made = program(tmp_path, engine=ScriptedEngine(answer, name="world"))
    loose = [gate for gate in usual(TASK, made) if gate.name not in ("near", "decontaminated", "agreement")]
    emitted = made.emit(st.recipes.labelled(per_label=12), gates=loose, embedder=world.WordEmbedder())
    assert "nearest neighbours are at cosine" in emitted.provenance.policies["diverse"].why
    assert any(warning.startswith("policy diverse:") for warning in emitted.provenance.warnings)


def test_an_emission_without_rows_says_so(tmp_path: Path):
    """No level is made up for nothing."""
    emitted = emit(tmp_path, recipe=st.recipes.labelled(per_label=0))
    assert emitted.provenance.involvement is None
    assert emitted.provenance.ledger == ()
    assert emitted.provenance.policies["accounted"].passed
