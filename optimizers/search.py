"""Search a subject: open, race what moves make, and end honestly.

    open      a few strong openings by successive halving; the best one and the baseline see all rows
    go on     moves (other demos, instructions, structure, crossings, TPE) race against the incumbent
    end       the preferred program is announced if a corrected test or fresh rows say so, else the baseline

The course is a function of subject, settings and recorded answers: a search that
was killed is run again from the store and arrives where it would have.
"""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stillroom.engines import Engine, Session
from stillroom.errors import BadConfig, BudgetExceeded
from stillroom.values import digest

from .confirm import Evidence, corrected_p, fresh_rows, look_again, verdict
from .course import Course, Progress, Reserved
from .front import amount, front, pick
from .moves import Moves
from .opening import open_race
from .propose import Proposer
from .race import Race, Trial
from .rules import balanced_order
from .settings import COSTS, Settings, read_preference
from .space import Params, Space
from .storage import open_storage
from .study import Sampler
from .subject import Candidate, Subject, strata

__all__ = ["Compiled", "Progress", "search"]


@dataclass(frozen=True)
class Compiled:
    """What a search found.

    Attributes:
        baseline: The subject as declared.
        best: The trial that was picked, established or not.
        evidence: What speaks for it; `None` where the best is the baseline.
        verdict: The same in words.
        trials: All trials.
        front: The trials that no other beats in score and cost, dearest first.
        ended: Why the search ended.
    """

    baseline: Trial
    best: Trial
    evidence: Evidence | None
    verdict: str
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    ended: str

    @property
    def established(self) -> bool:
        """Whether a program better than the baseline was announced."""
        return self.evidence is not None and self.evidence.established

    @property
    def p(self) -> float:
        """The p that decided, corrected for the search; 1 where the best is the baseline."""
        return 1.0 if self.evidence is None else self.evidence.judged

    @property
    def announced(self) -> Trial:
        """The picked trial when it was established, else the baseline."""
        return self.best if self.established else self.baseline

    @property
    def winner(self) -> Candidate:
        """The program of the announced trial."""
        return self.announced.candidate

    @property
    def notes(self) -> dict[str, Any]:
        """Where the winner comes from, for the saved program."""
        return {
            "search_score": round(self.announced.mean, 6),
            "baseline_score": round(self.baseline.mean, 6),
            "search_rows": len(self.baseline.outcomes),
            "trials": len(self.trials),
            "established": self.established,
            "p": round(self.p, 6),
        }


def search(
    subject: Subject,
    session: Session,
    settings: Settings,
    prompt_engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> Compiled:
    """Search the subject's space inside the session's budget.

    Args:
        subject: What is compiled; its engine is metered by the session.
        session: Store and ledger.
        settings: How to search.
        prompt_engine: Writes proposals; metered. The session's engine by default.
        on_progress: Called as the search goes on.

    Raises:
        BadConfig: If the budget cannot even score the baseline.
        BudgetExceeded: If it ended before the baseline was scored.
        EngineError: If an engine failed for good; finished calls are kept.
    """
    _check_budget(subject, session)
    rng = random.Random(f"search/{settings.seed}")
    course = Course(subject, session, settings, on_progress or (lambda stage, done, of, remark: None))
    space, sampler = Space.of(subject, settings.temperatures), _sampler(course)
    order = balanced_order(strata(subject.parts, subject.search), rng)
    race = Race(subject.search, course.run, lambda trial, race: _at_rest(course, trial, race), order)
    proposer = Proposer(subject, prompt_engine or session.engine, settings.seed, course.ask)
    moves = Moves(course, space, race, sampler, proposer, rng)
    baseline = _enter(course, race, space, space.declared, "declared")
    assert baseline is not None
    try:
        openings = open_race(course, race, space, baseline, rng)
        race.take_up(openings)
        ended = _go_on(course, race, space, moves)
    except Reserved:
        ended = "the rest of the budget is kept for confirming"
    except BudgetExceeded as error:
        if baseline.state != "complete":
            raise
        ended = str(error)
    sampler.record(space.choices, [trial for trial in race.trials if trial.outcomes])
    session.store.put_note("space", "latest", space.describe())
    return _end(course, race, baseline, ended)


def _sampler(course: Course) -> Sampler:
    """A sampler whose studies no other run can hold, also where machines share one database."""
    settings, folder = course.settings, course.session.store.folder
    journal = folder / "study.log"
    journal.unlink(missing_ok=True)  # the course is run again from recorded calls, never continued from here
    place = [socket.gethostname(), str(folder.resolve()), settings.seed]
    name = f"{course.subject.name}-{digest(place, 8)}"
    return Sampler(open_storage(settings.storage, journal), name, settings.seed)


# -- the middle ------------------------------------------------------------------------------


def _go_on(course: Course, race: Race, space: Space, moves: Moves) -> str:
    """Race what the moves make until the trials or the budget end; gives the reason."""
    while len(race.trials) < course.settings.trials:
        made = moves.next()
        if made is None:
            return f"no move had a candidate left after {len(race.trials)}"
        name, params = made
        before = race.incumbent
        trial = _enter(course, race, space, params, name)
        assert trial is not None
        race.run(trial)
        moves.learn(name, race.incumbent is not before)
    return "all trials were run"


def _enter(course: Course, race: Race, space: Space, params: Params, origin: str) -> Trial | None:
    return race.enter(course.build(space.choose(params)), params, origin)


# -- the end --------------------------------------------------------------------------------


def _end(course: Course, race: Race, baseline: Trial, ended: str) -> Compiled:
    """Pick by the user's rule, and announce only what is established."""
    settings = course.settings
    prefer = read_preference(settings.prefer)
    assert race.incumbent is not None
    best = pick(race.complete, race.incumbent, prefer)
    evidence = None if best is baseline else _evidence(course, race, baseline, best)
    words = verdict(best, baseline, len(race.trials), evidence, settings.seed)
    choices = tuple(front(race.complete, prefer.cost))
    return Compiled(baseline, best, evidence, words, tuple(race.trials), choices, ended)


def _evidence(course: Course, race: Race, baseline: Trial, best: Trial) -> Evidence:
    """The corrected test on the search rows, and the plain one on fresh rows where there are some and room for them."""
    course.kept, alpha = 0, course.settings.alpha
    p = corrected_p(race.trials, baseline, best, course.settings.seed)
    both = [best.candidate, baseline.candidate]
    rows = fresh_rows(course.subject, both, course.room // 2) if best.mean > baseline.mean else []
    if rows:
        course.progress("confirm", 0, len(rows), "comparing with the baseline on fresh rows")
        with suppress(BudgetExceeded):
            return look_again(course.run, best, baseline, rows, p, alpha)
    return Evidence(p, alpha, len(best.outcomes))


def _check_budget(subject: Subject, session: Session) -> None:
    calls, rows = session.ledger.budget.calls, len(subject.search)
    if calls is not None and calls < rows:
        raise BadConfig(
            f"a search needs a call for each of the {rows} search rows to score the baseline, got a budget of {calls} calls",
            mend="Raise the budget.",
        )


def _at_rest(course: Course, trial: Trial, race: Race) -> None:
    """Record a trial; once there is something to confirm, keep up to a quarter of the budget's rest for it."""
    _record(course, trial, race)
    baseline = race.trials[0]
    if not course.kept and baseline.state == "complete" and race.incumbent is not baseline:
        course.kept = 2 * len(fresh_rows(course.subject, [baseline.candidate], course.room // 8))


def _record(course: Course, trial: Trial, race: Race) -> None:
    """Leave a trial that came to rest in the store. What it cost so far is known once, when it is first run."""
    store, number = course.session.store, f"{trial.number:04d}"
    earlier = store.notes("trial").get(number, {})
    calls = course.session.ledger.spent.calls
    choices = trial.candidate.choices.values()
    note = {
        "params": trial.params,
        "plan": trial.candidate.digest,
        "origin": trial.origin,
        "mean": trial.mean,
        "rows": len(trial.outcomes),
        "unparsed": trial.unparsed,
        "state": trial.state,
        "demos": sum(len(choice.demos) for choice in choices),
        "format": ", ".join(dict.fromkeys(choice.format for choice in choices)),
        "instruction": "\n\n".join(choice.instruction for choice in choices),
        "cost": {cost: amount(trial, cost) for cost in COSTS},
        "calls": earlier["calls"] if earlier.get("plan") == trial.candidate.digest else calls,
        "incumbent": None if race.incumbent is None else race.incumbent.mean,
    }
    store.put_note("trial", number, note)
    done = sum(each.state != "open" for each in race.trials)
    best = race.incumbent.mean if race.incumbent else 0.0
    course.progress("race", done, course.settings.trials, f"best {best:.3f}, baseline {race.trials[0].mean:.3f}")
