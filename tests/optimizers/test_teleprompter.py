"""`Compile` as a DSPy optimizer: a compiled copy comes back, works without us, and survives saving."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dspy
import module_world as world
import pytest
from dspy.teleprompt import Teleprompter

from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, FingerprintChanged
from stillroom.ledger import Budget
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.systems import ModuleSystem
from stillroom.optimizers.teleprompt._adapters import CompiledPredict
from stillroom.optimizers.teleprompt.module_plan import Compilation, apply_choices, load_module
from stillroom.optimizers.teleprompt.teleprompter import Compile
from stillroom.programs import Decoding, Demo

QUICK = Settings(trials=6, proposals=1, confirm=0)


@pytest.fixture(autouse=True)
def _few_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def helped_by_demos(request, known):
    """A model that errs on every other pair of numbers until it is shown how."""
    number = int(known["note"].split()[-1])
    shown = len(request.messages) > 2
    wrong = {"odd": "even", "even": "odd"}[known["topic"]]
    return known if shown or number % 4 < 2 else {**known, "topic": wrong}


def found_by(choose):
    """A search that tries nothing and picks `choose(subject)`."""

    def search(subject, session, settings, prompt_engine=None, on_progress=None):
        winner = subject.build(choose(subject))
        subject.run(winner, subject.search)
        notes = {"search_score": 1.0, "baseline_score": 0.5}
        return SimpleNamespace(winner=winner, established=True, verdict="winner confirmed", notes=notes)

    return search


def everything(subject):
    """A choice that is not the default in any respect."""
    write, sort = subject.parts
    return {
        "write": replace(
            subject.default(write),
            instruction="Write it down.",
            demos=(Demo("d", {"message": "number 5"}, {"note": "it is 5", "reasoning": "I read it"}),),
            format="xml",
            reasoning=True,
            decoding=Decoding(0.25, 99),
        ),
        "sort.predict": replace(subject.default(sort), format="json"),
    }


def compiled_by(choose, tmp_path, monkeypatch):
    monkeypatch.setattr("stillroom.optimizers.search.search", found_by(choose))
    with dspy.context(lm=world.lm(world.engine())):
        return Compile(world.right, run=tmp_path / "run").compile(world.Desk(), trainset=world.rows())


def requests_of(module) -> list:
    """What `module` asks when it answers one row."""
    asked = []

    def listen(request, known):
        asked.append((str(request.system), [message.text for message in request.messages], request.config))
        return known

    with dspy.context(lm=world.lm(world.engine(listen))):
        assert module(message="number 4").topic == "even"
    return asked


def test_the_search_compiles_a_program_of_two_steps(tmp_path: Path):
    """The whole way: rows in, a better compiled copy out, its evidence on it, the student untouched."""
    student, scripted = world.Desk(), world.engine(helped_by_demos)
    optimizer = Compile(world.right, lm=scripted, settings=QUICK, run=tmp_path, budget=Budget(calls=3_000))
    assert isinstance(optimizer, Teleprompter)
    before = dict(dspy.settings.config)
    module = optimizer.compile(student, trainset=world.rows(0, 100))
    assert dict(dspy.settings.config) == before
    assert isinstance(module, world.Desk)
    assert module._compiled
    assert module.stillroom.established, module.stillroom.verdict
    assert module.stillroom.baseline_score < 0.7 < module.stillroom.search_score
    assert ModuleSystem("compiled", module, scripted).search_score == module.stillroom.search_score
    assert ModuleSystem("student", student, scripted).search_score is None
    assert module.sort.predict.demos
    assert not student.sort.predict.demos
    assert not student._compiled
    assert module(message="number 42").topic == "even", "it answers on the model it was compiled for"
    served = scripted.served
    again = Compile(world.right, lm=scripted, settings=QUICK, run=tmp_path, budget=Budget(calls=3_000))
    same = again.compile(world.Desk(), trainset=world.rows(0, 100))
    assert scripted.served == served, "what was paid for is not paid for twice"
    assert same.stillroom == module.stillroom
    assert json.loads((tmp_path / "module.json").read_text())["notes"]["verdict"] == module.stillroom.verdict


def test_nothing_better_gives_the_student_back(tmp_path: Path):
    """A flawless baseline is kept as it is."""
    module = Compile(world.right, lm=world.engine(), settings=QUICK, run=tmp_path).compile(
        world.Desk(), trainset=world.rows()
    )
    assert not module.stillroom.established
    assert module._compiled
    assert type(module.write) is dspy.Predict
    assert module.write.signature.instructions == world.Note.instructions
    assert module.write.demos == []


def test_an_agent_is_compiled(tmp_path: Path):
    """ReAct: its tool is run, both predictors are parts, the tools stay the user's."""
    module = Compile(world.right, lm=world.engine(), settings=QUICK, run=tmp_path).compile(
        world.agent(), trainset=world.rows()
    )
    assert module.tools["look_up"].func is world.look_up
    assert module(message="number 12").topic == "even"


def test_a_compiled_module_asks_the_lm_that_is_configured(tmp_path: Path, monkeypatch):
    """Without `lm=` predictors stay unbound, and the closed session is not asked."""
    module = compiled_by(everything, tmp_path, monkeypatch)
    assert module.write.lm is None
    write, sort = requests_of(module)
    assert "Write it down." in write[0]
    assert "<reasoning>" in write[0]
    assert "number 5" in write[1][0]
    assert "I read it" in write[1][1]
    assert (write[2].temperature, write[2].max_tokens) == (0.25, 99)
    assert "JSON object" in sort[0]


def test_copies_and_whole_programs_ask_the_same(tmp_path: Path, monkeypatch):
    """Deep copies, DSPy's saved program, and what it says of itself."""
    module = compiled_by(everything, tmp_path, monkeypatch)
    expected = requests_of(module)
    assert requests_of(copy.deepcopy(module)) == expected
    assert requests_of(module.deepcopy()) == expected
    module.save(tmp_path / "program", save_program=True, modules_to_serialize=[world])
    loaded = dspy.load(str(tmp_path / "program"), allow_pickle=True)
    assert requests_of(loaded) == expected
    assert module.stillroom == Compilation("winner confirmed", True, 1.0, 0.5, str(tmp_path / "run"))
    assert copy.deepcopy(module).stillroom == module.stillroom


def test_a_saved_state_is_loaded_back(tmp_path: Path, monkeypatch):
    """DSPy's JSON state: onto the compiled program by `load`, onto a fresh one by `load_module`, never by halves."""
    module = compiled_by(everything, tmp_path, monkeypatch)
    expected = requests_of(module)
    state = tmp_path / "state.json"
    module.save(state)
    other = copy.deepcopy(module)
    other.write.demos, other.write.config, other.write.stillroom_format = [], {}, None
    other.load(state)
    assert requests_of(other) == expected
    assert requests_of(load_module(world.Desk(), state)) == expected
    with pytest.raises(ValueError, match=r"stillroom\.load_module"):
        world.Desk().load(state)


def test_a_state_that_dspy_can_hold_is_loaded_by_dspy(tmp_path: Path, monkeypatch):
    """Instruction, demos and decoding: a fresh program needs nothing of ours."""

    def plainly(subject):
        choice = everything(subject)["write"]
        demo = Demo("d", {"message": "number 5"}, {"note": "it is 5"})
        return {"write": replace(choice, format="chat", reasoning=False, demos=(demo,))}

    module = compiled_by(plainly, tmp_path, monkeypatch)
    module.save(tmp_path / "state.json")
    fresh = world.Desk()
    fresh.load(tmp_path / "state.json")
    assert type(fresh.write) is dspy.Predict
    assert requests_of(fresh) == requests_of(module)


def test_a_run_is_loaded_onto_a_fresh_program(tmp_path: Path, monkeypatch):
    """By folder, by file and by value; the fresh program is not touched."""
    module = compiled_by(everything, tmp_path, monkeypatch)
    expected, fresh = requests_of(module), world.Desk()
    path = tmp_path / "run" / "module.json"
    for loaded in (
        load_module(fresh, tmp_path / "run"),
        load_module(fresh, path),
        apply_choices(fresh, json.loads(path.read_text())),
    ):
        assert requests_of(loaded) == expected
        assert loaded._compiled
    assert type(fresh.write) is dspy.Predict


def test_what_is_no_compiled_module_is_refused(tmp_path: Path, monkeypatch):
    """Another program, an edited file, a missing one, a text."""
    compiled_by(everything, tmp_path, monkeypatch)
    path = tmp_path / "run" / "module.json"
    with pytest.raises(BadConfig, match="got other predictors"):
        load_module(world.Listed(), path)
    value = json.loads(path.read_text())
    value["choices"]["write"]["instruction"] = "Something else."
    with pytest.raises(BadConfig, match="digest must match"):
        apply_choices(world.Desk(), value)
    with pytest.raises(BadConfig, match="kind 'module-plan'"):
        apply_choices(world.Desk(), {"kind": "plan"})
    with pytest.raises(BadConfig, match="must exist"):
        load_module(world.Desk(), tmp_path / "nowhere.json")
    path.write_text("{")
    with pytest.raises(BadConfig, match="is not a compiled module"):
        load_module(world.Desk(), path)


def test_a_compiled_module_can_be_compiled_again(tmp_path: Path, monkeypatch):
    """Its formats, demos and decoding are what the second search starts from."""
    first = compiled_by(everything, tmp_path / "one", monkeypatch)
    expected = requests_of(first)
    seen = []

    def look(subject):
        seen.extend(subject.default(part) for part in subject.parts)
        return {}

    monkeypatch.setattr("stillroom.optimizers.search.search", found_by(look))
    with dspy.context(lm=world.lm(world.engine())):
        second = Compile(world.right, run=tmp_path / "two").compile(first, trainset=world.rows())
    assert requests_of(second) == expected
    assert [choice.format for choice in seen] == ["xml", "json"]
    assert (seen[0].decoding.temperature, seen[0].decoding.max_tokens, len(seen[0].demos)) == (0.25, 99, 1)
    assert isinstance(second.write, CompiledPredict)


def test_the_ambient_adapter_is_the_default_format(tmp_path: Path, monkeypatch):
    """A program under DSPy's JSON adapter is asked in JSON, and chat is a choice of its own."""
    seen = []

    def look(subject):
        seen.extend(subject.parts)
        return {"write": replace(subject.default(subject.parts[0]), format="chat")}

    with dspy.context(adapter=dspy.JSONAdapter()):
        module = compiled_by(look, tmp_path, monkeypatch)
        write, sort = requests_of(module)
    assert seen[0].formats == ("json", "chat", "xml")
    assert "[[ ## note ## ]]" in write[0]
    assert "JSON object" in sort[0]


def test_predictors_are_bound_to_the_lm_they_were_compiled_for(tmp_path: Path, monkeypatch):
    """`lm=` binds those without one; those with one keep it."""
    monkeypatch.setattr("stillroom.optimizers.search.search", found_by(lambda subject: {}))
    student, own, given = world.Desk(), world.lm(world.engine(name="own")), world.lm(world.engine(name="given"))
    student.write.lm = own
    module = Compile(world.right, lm=given, run=tmp_path).compile(student, trainset=world.rows())
    assert module.write.lm is own
    assert module.sort.predict.lm is given
    assert module(message="number 3").topic == "odd"


def test_a_prompt_model_and_a_teacher_are_metered_too(tmp_path: Path, monkeypatch):
    """One ledger over three models."""
    asked = {}

    def search(subject, session, settings, prompt_engine, on_progress):
        asked["model"] = prompt_engine.model
        subject.bootstrap(subject.baseline, subject.demos)
        asked["spent"] = session.ledger.spent.calls
        return found_by(lambda subject: {})(subject, session, settings)

    monkeypatch.setattr("stillroom.optimizers.search.search", search)
    teacher, strong, prompt = world.Desk(), world.engine(name="strong"), world.engine(name="prompt")
    teacher.set_lm(world.lm(strong))
    made = Compile(world.right, lm=world.engine(), prompt_lm=prompt, run=tmp_path)
    made.compile(world.Desk(), trainset=world.rows(), teacher=teacher)
    assert asked == {"model": prompt.model, "spent": strong.served}


def test_errors_reach_the_user_and_the_run_goes_on_afterwards(tmp_path: Path):
    """An outage, then an empty budget, then another program in the same folder."""
    down = {"on": True}
    scripted = world.engine(fail=lambda request: EngineBusy("down") if down["on"] else None)
    made = Compile(world.right, lm=scripted, settings=QUICK, run=tmp_path, budget=Budget(calls=15))
    with pytest.raises(EngineBusy, match="down"):
        made.compile(world.Desk(), trainset=world.rows())
    down["on"] = False
    with pytest.raises(BudgetExceeded):
        made.compile(world.Desk(), trainset=world.rows())
    with pytest.raises(FingerprintChanged, match="program was 'Desk"):
        made.compile(world.Listed(), trainset=world.rows())


def test_no_lm_anywhere_is_said_before_a_folder_is_made(tmp_path: Path):
    """Nothing is asked and nothing is written."""
    with pytest.raises(BadConfig, match="every predictor needs an LM"), dspy.context(lm=None):
        Compile(world.right, run=tmp_path / "run").compile(world.Desk(), trainset=world.rows())
    assert not (tmp_path / "run").exists()


def test_status_streams_and_tokens_of_other_predictors_pass(tmp_path: Path, monkeypatch):
    """`dspy.streamify` wraps a compiled module as any other."""
    import asyncio

    module = compiled_by(everything, tmp_path, monkeypatch)
    scripted: ScriptedEngine = world.engine()

    async def last():
        with dspy.context(lm=world.lm(scripted)):
            return [chunk async for chunk in dspy.streamify(module)(message="number 4")][-1]

    assert asyncio.run(last()).topic == "even"
