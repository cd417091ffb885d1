"""Rounds: rows are made, a model is trained on them, and it takes its place in the making of the next rows.

SPIN, ReST-EM, instruction backtranslation, Self-Rewarding, SteerLM and Llama 3.1 are one loop with other settings
(`Rounds`). Each round is a run folder of its own under one folder; what was done is in a journal beside them, written
in one step after each stage. So a crash at any moment goes on in the same round, at the same stage: rows are taken up
by their run, a model that was trained is not trained again, a score that was measured stands.

Each round is measured on rows that people labelled and nobody trains on; the best model is kept, and the loop ends
with the first round that brings no gain: models that learn from themselves get worse, and say so only there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from stillroom.database import hold
from stillroom.engines import Engine, open_engine, open_session
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, FingerprintChanged
from stillroom.evals import Metric
from stillroom.evals.verdict import metric_name
from stillroom.licences import OWN_DATA
from stillroom.release import Override
from stillroom.rows import EmittedRow, Passport
from stillroom.signatures import Example
from stillroom.signatures.records import SCHEMAS, Record, build
from stillroom.values import atomic, canonical, digest, pretty, write_atomic

from .evaluate import Evaluator, mean_score
from .plan import Plan
from .published import Job, Preset, Rounds, prepare, preset, run_preset
from .published.job import TEACHER
from .records import HandOver, hand_over

__all__ = ["JOURNAL", "HeldOut", "Iterated", "Measure", "Round", "Trainer", "iterate"]

JOURNAL = "rounds.json"
_RUN = ("given", "samples", "rows", "params", "plans")
"""Settings of `run_preset` that decide its rows."""


class Trainer(Protocol):
    """Trains a model on rows."""

    def __call__(self, parent: str, rows: Path, into: Path) -> str:
        """Train `parent` and name the model that came of it, as `stillroom.engines.open_engine` takes it.

        After a crash it is called again with the same arguments, unless it had returned.

        Args:
            parent: The name of the model to start from.
            rows: Records of the recipe's first schema, one JSON object a line.
            into: A folder for what is made. It may hold what an earlier call left.
        """


class Measure(Protocol):
    """Scores a model on rows that nobody trains on: higher is better."""

    def __call__(self, engine: Engine, run: Path) -> float:
        """The score of the model behind `engine`; `run` is a run folder for its calls."""


@dataclass(frozen=True)
class HeldOut:
    """A measure: the mean score of a model on labelled rows that nobody trains on.

    Attributes:
        plan: What it is asked, whichever model the plan names.
        rows: The labelled rows.
        metric: Scores one answer, 0..1.
    """

    plan: Plan
    rows: Sequence[Example]
    metric: Metric

    @property
    def name(self) -> str:
        """Of plan, rows and metric: with another of them scores mean something else."""
        asked = replace(self.plan, model="").digest
        return f"held out {digest([asked, [digest(each.values) for each in self.rows], metric_name(self.metric)])}"

    def __call__(self, engine: Engine, run: Path) -> float:
        """The score; every answer and every verdict is kept in the run folder."""
        plan = replace(self.plan, model=engine.model)
        with open_session(engine, run, "held out", {"measure": self.name}) as session:
            evaluator = Evaluator(session.engine, session.store, self.metric, metric_name(self.metric))
            return mean_score(evaluator.run(plan, self.rows))


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        number: From 1.
        parent: The model that was trained.
        roles: Who had which role while its rows were made.
        data: The rounds whose records it was trained on.
        records: How many there were, seeds among them.
        model: What came of it.
        score: Of that model on the held-out rows.
    """

    number: int
    parent: str
    roles: Mapping[str, str]
    data: tuple[int, ...]
    records: int
    model: str
    score: float


@dataclass(frozen=True)
class Iterated:
    """What came of all rounds.

    Attributes:
        base: The model before the first round.
        base_score: Its score.
        rounds: In order, the one without gain among them.
        model: The best of all, the base where no round was better.
        best: The number of its round, 0 for the base.
        ended: Why there are no more rounds.
    """

    base: str
    base_score: float
    rounds: tuple[Round, ...]
    model: str
    best: int
    ended: str


def iterate(
    recipe: Preset | str,
    trainer: Trainer,
    folder: Path | str,
    *,
    base: str,
    stop: Measure,
    rounds: Rounds | None = None,
    lm: str | None = None,
    roles: Mapping[str, str] | None = None,
    seed: int = 0,
    models: Callable[[str], Engine] = open_engine,
    overrides: Sequence[Override] = (),
    **settings: Any,
) -> Iterated:
    """Make rows, train, measure, and again; called once more it goes on where it stopped, and pays nothing twice.

    Args:
        recipe: A preset or its name.
        trainer: Trains one model on one file of records.
        folder: Holds the journal, and a folder for each round.
        base: The model before the first round.
        stop: Scores a model on held-out rows. A round whose score is not above the best so far is the last.
        rounds: How to iterate; as the preset says where None.
        lm: The teacher; `base` where None.
        roles: Further models by role. Those in `rounds.refresh` have the newest model in every round.
        seed: Of the first round; each later one has the next number.
        models: Opens a model by its name. What it opens is closed again.
        overrides: Who answers for licences that would forbid training on the rows.
        settings: As `run_preset` takes them: given, samples, rows, params, plans; budget (of each round) and licence.

    Raises:
        BadInput: For what cannot work, before anything is asked; for rows that no record can be made of.
        FingerprintChanged: If the folder was begun with something else.
        LicenceForbids: If a row's licence does not allow training on it.
        BudgetExceeded, EngineError: What is finished is kept, and a second call goes on.
    """
    shown = preset(recipe) if isinstance(recipe, str) else recipe
    plan = rounds or shown.rounds
    if plan is None:
        raise BadConfig(
            f"{shown.name} does not say how it is iterated", mend="Give rounds, such as Rounds(3, restart='previous')."
        )
    named = {TEACHER: lm or base, **(roles or {})}
    loop = _Loop(shown, plan, trainer, stop, Path(folder), base, named, seed, models, tuple(overrides), settings)
    handle = hold(loop.folder)
    try:
        return loop.run()
    finally:
        os.close(handle)


@dataclass(frozen=True)
class _Loop:
    preset: Preset
    plan: Rounds
    trainer: Trainer
    stop: Measure
    folder: Path
    base: str
    named: Mapping[str, str]
    seed: int
    models: Callable[[str], Engine]
    overrides: tuple[Override, ...]
    settings: Mapping[str, Any]

    def run(self) -> Iterated:
        journal = self._journal()
        if "score" not in journal:
            journal["score"] = self._measured(self.base, self.folder / "base")
            self._write(journal)
        while not journal["ended"]:
            self._round(journal)
        return self._told(journal)

    def _round(self, journal: dict[str, Any]) -> None:
        """Do what is left of the round under way, or begin the next. Each stage is in the journal when it is done."""
        done: list[dict[str, Any]] = journal["rounds"]
        if not done or "score" in done[-1]:
            done.append(self._begun(done))
            self._write(journal)
        now = done[-1]
        here = self._place(now["number"])
        if "made" not in now:
            now["made"] = self._make(now, here)
            self._write(journal)
        if "model" not in now:
            now["records"] = self._gather(now, here / "train.jsonl")
            model = self.trainer(now["parent"], here / "train.jsonl", here / "model")
            with self._opened([model]):  # a name that nothing opens must not be taken for a model
                now["model"] = model
            self._write(journal)
        now["score"] = self._measured(now["model"], here / "measured")
        best = max([journal["score"], *(each["score"] for each in done[:-1])])
        if now["score"] <= best:
            journal["ended"] = f"round {now['number']} brought no gain: {now['score']:.4f} after {best:.4f}"
        elif now["number"] >= self.plan.rounds:
            journal["ended"] = f"all {self.plan.rounds} rounds are done"
        self._write(journal)

    # -- the stages of a round ----------------------------------------------------------

    def _begun(self, done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        number = len(done) + 1
        newest = done[-1]["model"] if done else self.base
        return {
            "number": number,
            "parent": self.base if self.plan.restart == "base" else newest,
            "roles": {**self.named, **dict.fromkeys(self.plan.refresh, newest)},
            "data": self.plan.trained_on(number),
        }

    def _make(self, now: Mapping[str, Any], here: Path) -> int:
        """Emit the round's rows and write them as records; say how many."""
        roles, seed = now["roles"], self.seed + now["number"] - 1
        with self._opened(roles.values()) as engines:
            others = {role: engines[name] for role, name in roles.items() if role != TEACHER}
            made = run_preset(
                self.preset, here / "run", lm=engines[roles[TEACHER]], roles=others, seed=seed, **self.settings
            )
        schema = self.preset.emits[0]
        emit = self.preset.load().emits[schema]
        wish = HandOver(
            schema,
            "jsonl",
            columns=emit.columns,
            field=emit.field,
            rejects=emit.rejects,
            seed=seed,
            round=now["number"] - 1,
            caps=tuple(self.preset.load().caps(self._job().params)),
        )
        return hand_over(lambda: made.rows, lambda: made.rejects, wish, here, overrides=self.overrides).records

    def _gather(self, now: Mapping[str, Any], path: Path) -> int:
        """Put what the round trains on into one file: the seeds, then the records of its rounds; say how many."""
        count = 0
        with atomic(path) as file:
            for seed in self._seeds():
                file.write(f"{canonical(seed.as_json())}\n".encode())
                count += 1
            for number in now["data"]:
                with (self._place(number) / f"{self.preset.emits[0]}.jsonl").open("rb") as records:
                    for line in records:
                        file.write(line)
                        count += 1
        return count

    def _seeds(self) -> Iterator[Record]:
        """Rows of people as records. They were made by nobody's model, and their papers say so."""
        columns = {name: (column,) for name, column in self.plan.seeds.items() if name != "source"}
        if not columns:
            return
        papers = Passport("", "", "", self.settings.get("licence") or OWN_DATA, (), {}, {}, 0, 0)
        for number, row in enumerate(self._job().stream(self.plan.seeds["source"])):
            given = EmittedRow(digest(row), f"seeds/{number}/0", "accepted", row, papers)
            yield build(SCHEMAS[self.preset.emits[0]], given, columns)

    def _measured(self, model: str, run: Path) -> float:
        with self._opened([model]) as engines:
            return float(self.stop(engines[model], run))

    @contextmanager
    def _opened(self, names: Any) -> Iterator[dict[str, Engine]]:
        with ExitStack() as stack:
            engines: dict[str, Engine] = {}
            for name in dict.fromkeys(names):
                engines[name] = self.models(name)
                stack.callback(engines[name].close)
            yield engines

    # -- the journal --------------------------------------------------------------------

    def _journal(self) -> dict[str, Any]:
        path, wanted = self.folder / JOURNAL, self._fingerprint()
        if not path.exists():
            journal: dict[str, Any] = {"begun": wanted, "rounds": [], "ended": ""}
            self._write(journal)
            return journal
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in wanted if found["begun"].get(name) != wanted[name])
        if changed:
            raise FingerprintChanged(
                f"the rounds in {self.folder} were begun with another {', '.join(changed)}",
                mend="Go on with what they were begun with, or give a new folder.",
            )
        return found

    def _fingerprint(self) -> dict[str, Any]:
        """What everything is a function of, the trainer's own settings excepted. A job that cannot work raises here."""
        rounds = json.loads(canonical(asdict(self.plan)))
        unknown = sorted(set(self.plan.seeds.get("source", "").split()) - set(self.preset.load().given))
        if unknown:
            raise BadConfig(f"{self.preset.name} has no source {unknown[0]!r} to take seeds from")
        job = self._job()
        job.method.flow(job)
        return {
            "recipe": job.digest,
            "rows": job.rows,
            "rounds": rounds,
            "base": self.base,
            "roles": dict(self.named),
            "stop": metric_name(self.stop),
        }

    def _job(self) -> Job[Any]:
        nobody = ScriptedEngine({}, name="nobody")
        known = {name: self.settings[name] for name in _RUN if name in self.settings}
        return prepare(self.preset, {TEACHER: nobody}, seed=self.seed, **known)

    def _write(self, journal: Mapping[str, Any]) -> None:
        write_atomic(self.folder / JOURNAL, pretty(dict(journal)))

    def _place(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}"

    def _told(self, journal: Mapping[str, Any]) -> Iterated:
        done = tuple(
            Round(
                each["number"], each["parent"], each["roles"], tuple(each["data"]), each["records"], each["model"],
                each["score"],
            )
            for each in journal["rounds"]
        )  # fmt: skip
        best = max(done, key=lambda each: each.score, default=None)
        if best is None or best.score <= journal["score"]:
            return Iterated(self.base, journal["score"], done, self.base, 0, journal["ended"])
        return Iterated(self.base, journal["score"], done, best.model, best.number, journal["ended"])
