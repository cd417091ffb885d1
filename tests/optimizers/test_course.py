"""The course: all that a search asks for is counted, room is kept for the end, and fresh rows stay fresh."""

from __future__ import annotations

import re
from pathlib import Path

import module_world
import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine, open_session
from stillroom.ledger import Budget
from stillroom.optimizers import search
from stillroom.optimizers.course import TRIED, Course, Reserved
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.storage import open_storage
from stillroom.optimizers.task_subject import TaskSubject

TASK = world.task()


def course_of(subject, **settings) -> Course:
    return Course(subject, subject.session, Settings(**settings), lambda *progress: None)


def test_everything_asked_for_is_counted_as_the_ledger_counts_it(tmp_path: Path):
    """An agent makes three calls a row with two predictors; bootstrapping and tries count too."""
    with module_world.subject(
        module_world.agent(), module_world.engine(), tmp_path, trainset=module_world.rows(0, 60)
    ) as subject:
        course, spent = course_of(subject), subject.session.ledger
        assert course.each == len(subject.parts) == 2
        course.run(subject.baseline, subject.search[:7])
        assert course.each == 3
        assert course.used == spent.spent.calls == 21
        course.bootstrap(subject.baseline)
        assert course.used == spent.spent.calls == 21 + 3 * TRIED
        course.tries(subject.baseline)
        again = course.tries(subject.baseline)
        assert len(again) == TRIED
        assert course.used == 21 + 6 * TRIED, "counted though the rows were bootstrapped from before"
        course.ask(5)
        assert course.used == 26 + 6 * TRIED


def test_frozen_predictors_ask_too(tmp_path: Path):
    """One part, two calls a row."""
    frozen = module_world.Desk()
    frozen.sort._compiled = True
    with module_world.subject(frozen, module_world.engine(), tmp_path) as subject:
        course = course_of(subject)
        course.run(subject.baseline, subject.search)
        assert (len(subject.parts), course.each) == (1, 2)
        assert course.used == subject.session.ledger.spent.calls


def test_a_course_that_is_run_again_counts_alike(tmp_path: Path):
    """Answers that are found count as if they were asked for: what is decided by the count is decided again."""
    used = []
    for _ in range(2):
        with module_world.subject(module_world.agent(), module_world.engine(), tmp_path) as subject:
            course = course_of(subject)
            course.run(subject.baseline, subject.search)
            course.bootstrap(subject.baseline)
            used.append((course.used, course.each, course.room))
    assert used[0] == used[1]


def test_rows_kept_back_are_paid_for_at_what_a_row_was_seen_to_cost(tmp_path: Path):
    """Of a hundred calls, ten rows of three leave room for 23: a row more, a proposal or a try is refused."""
    more = {"trainset": module_world.rows(0, 100), "budget": Budget(calls=100)}
    with module_world.subject(module_world.agent(), module_world.engine(), tmp_path, **more) as subject:
        course = course_of(subject)
        course.run(subject.baseline, subject.search[:10])
        assert course.room == 23
        course.kept = 20
        for refused in (
            lambda: course.run(subject.baseline, subject.search[10:14]),
            lambda: course.tries(subject.baseline),
            lambda: course.bootstrap(subject.baseline),
            lambda: course.ask(10),
        ):
            with pytest.raises(Reserved):
                refused()
        assert course.used == subject.session.ledger.spent.calls == 30
        course.run(subject.baseline, subject.search[10:13])
        assert course.room == 20


def helped(request, known):
    """Odd is the answer unless demos are shown."""
    wrong = len(request.messages) <= 2 and int(known["note"].split()[-1]) % 2 == 0
    return {**known, "topic": "odd"} if wrong else known


@pytest.mark.parametrize(("calls", "found"), [(450, 0), (800, 12)])
def test_an_agents_search_keeps_room_for_baseline_and_end(calls: int, found: int, tmp_path: Path):
    """At three calls a row: the budget always holds 72 rows of the baseline, and where it can fresh rows of both."""
    scripted = module_world.engine(helped)
    settings = Settings(trials=60, proposals=0, temperatures=(0.0, 0.2, 0.4, 0.6, 0.8))
    optimizer = st.Compile(module_world.right, lm=scripted, settings=settings, run=tmp_path, budget=Budget(calls=calls))
    said = optimizer.compile(module_world.agent(), trainset=module_world.rows(0, 120)).stillroom
    assert scripted.served <= calls
    assert said.baseline_score == 0.5
    fresh = re.search(r"on (\d+) fresh rows", said.verdict)
    assert int(fresh[1] if fresh else 0) >= found, said.verdict


class Listener:
    """A model that keeps what it was shown, up to the moment at which the end begins."""

    def __init__(self, answer) -> None:
        self.answer, self.before, self.after, self.confirming = answer, [], [], False

    def __call__(self, request) -> str:
        heard = self.after if self.confirming else self.before
        heard.append((f"{request.system}", [message.text or "" for message in request.messages]))
        return self.answer(request)

    def progress(self, stage: str, done: int, of: int, remark: str) -> None:
        self.confirming = self.confirming or stage == "confirm"


@pytest.mark.parametrize("prompter", [False, True], ids=["one model", "a prompt model"])
def test_what_is_fresh_at_the_end_was_never_seen_before(tmp_path: Path, prompter: bool):
    """Not in a proposal's prompt, not as a demo, not tried: no prompt before the end holds a text of a fresh row."""
    task = world.task(420)
    answers, writes = Listener(world.answer), Listener(world.answer)
    program = st.compile(
        task,
        lm=ScriptedEngine(answers, name="world"),
        prompt_lm=ScriptedEngine(writes, name="writer") if prompter else None,
        run=tmp_path,
        settings=st.Settings(trials=30, proposals=10),
        on_progress=answers.progress,
    )
    asked = "\n".join(messages[-1] for _, messages in answers.after)
    fresh = [row.inputs["message"] for row in task.demos if row.inputs["message"] in asked]
    assert len(fresh) == program.facts["evidence"]["fresh"] >= 40
    before = "\n".join("\n".join((system, *messages)) for system, messages in answers.before + writes.before)
    assert before.count("You improve the instruction") + before.count("Define one") > 4
    assert sum(row.inputs["message"] in before for row in task.demos) > 40
    assert not [text for text in fresh if text in before]


def test_labels_are_calibrated_on_rows_that_are_not_fresh(tmp_path: Path):
    """Their inputs decide answers too."""
    with open_session(world.engine(), tmp_path, "compile", {}) as session:
        subject = TaskSubject(TASK, session.engine, session.store, Settings())
        assert len(subject.fresh) >= 12
        assert not {row.id for row in subject.demos} & {row.id for row in subject.fresh}
        assert len(subject.demos) + len(subject.fresh) == len(TASK.demos)


def test_a_study_is_named_by_machine_and_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two machines with equal relative folders in one database have studies of their own; a second run has the same."""
    storage = f"sqlite:///{tmp_path}/studies.db"
    settings = st.Settings(trials=2, proposals=0, storage=storage)
    names = []
    for host, place in (("one", "a"), ("two", "a"), ("one", "b"), ("one", "a")):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(search.socket, "gethostname", lambda host=host: host)
        st.compile(world.task(90), lm=world.engine(), run="run", settings=settings)
        names.append({study.study_name for study in open_storage(storage, folder).get_all_studies()})
    assert [len(found) for found in names] == [1, 2, 3, 3]
