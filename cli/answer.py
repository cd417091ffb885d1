"""`stillroom answer`: answer the user's own rows with a compiled program, a file in and a file out."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .begun import begins, remember
from .desk import lm_of_plan, open_watched
from .emission import SHORT, facts_of, lines_of
from .job import budget_of, columns_of, read_job
from .show import Ending, Screen

if TYPE_CHECKING:
    from stillroom.engines import PriceTable
    from stillroom.ledger import Budget
    from stillroom.programs import Plan
    from stillroom.programs.answering import Answering

    from .progress import Bars
    from .watched import Watched

__all__ = ["Work", "answer", "read_work"]


@dataclass(frozen=True)
class Work:
    """What is to be answered, by what.

    Attributes:
        what: The program and the input file.
        home: The folder that the program lies in.
        run: The run folder of the answers.
        lm: The model that answers.
        lm_licence: The licence of its weights, where the user declares it.
        on: The Ray cluster whose machines are asked, or `None` for this process.
        prices: What models cost, before all other tables.
        budget: Limits of the answering.
    """

    what: Answering
    home: Path
    run: Path
    lm: str
    lm_licence: str | None
    on: str | None
    prices: PriceTable | None
    budget: Budget

    @property
    def plan(self) -> Plan:
        """The program."""
        assert not isinstance(self.what.program, type)  # it was saved
        return self.what.program

    @contextmanager
    def opened(self, screen: Screen, *, reach: bool = True) -> Iterator[tuple[Watched, Bars]]:
        """Open its engine, as `open_watched` does. Raises `BadConfig` if the plan was made for another model."""
        with open_watched(
            self.lm, screen, run=self.run, licence=self.lm_licence, on=self.on, prices=self.prices, reach=reach
        ) as (engine, bars):
            if engine.model != self.plan.model:
                raise BadConfig(
                    f"the plan was made for {self.plan.model}, got {engine.model}",
                    mend="Use the model it was compiled for, or compile again for this one.",
                )
            yield engine, bars


def answer(args: Namespace, screen: Screen, *, again: bool = False) -> Ending:
    """Answer every row of a file; exit code 6 if some are left without an answer."""
    from stillroom.programs import answer as answer_rows

    begins(args)
    work = read_work(args)
    with work.opened(screen) as (engine, bars):
        remember(work.run, Namespace(**{**vars(args), "compiled": work.home}))
        answered = answer_rows(
            work.what,
            lm=engine,
            run=work.run,
            budget=work.budget,
            reuse=args.reuse or (),
            retry=again,
            on_progress=lambda done, of: bars.report("answer", done, of),
        )
        bars.done()
    value = facts_of(answered, work.run, "answer")
    screen.say(
        f"{args.rows.name}: {len(answered.rows)} rows answered, {sum(answered.shortfall.values())} without an answer",
        *lines_of(answered, value["spent"]),
        f"  rows: {value['rows']}",
    )
    return Ending(value, SHORT if value["shortfall"] else 0)


def read_work(args: Namespace) -> Work:
    """Find the plan: a saved one, that of a run folder, or that of the run of a task file.

    Raises:
        BadConfig: If there is none, or an option cannot work.
    """
    from stillroom.programs import Plan
    from stillroom.programs.answering import Answering

    given: Path = args.program
    file_lm, lm_licence, prices, budget = None, args.lm_licence, None, budget_of(vars(args))
    if given.suffix == ".py":
        # a run that is taken up knows where its program lay, wherever it is taken up
        job = read_job(Namespace(**{**vars(args), "task": given, "run": vars(args).get("compiled")}))
        given, file_lm, lm_licence, prices, budget = job.run, job.file_lm, job.lm_licence, job.prices, job.budget
    path = given / "plan.json" if given.is_dir() or given.suffix != ".json" else given
    if not path.is_file():
        raise BadConfig(
            f"a program must be a saved plan, a folder that holds plan.json, or the task file of such a run, got {str(given)!r}",
            mend="Run `stillroom compile` first, or give its run folder.",
        )
    if not args.rows.is_file():
        raise BadConfig(f"rows must be a .jsonl, .csv or .parquet file, got {str(args.rows)!r}")
    plan = Plan.load(path)
    return Work(
        Answering(plan, args.rows, columns=_columns(args, plan), licence=args.licence or ""),
        path.parent,
        args.run or path.parent / "answers",
        lm_of_plan(plan, args.lm, file_lm),
        lm_licence,
        args.on,
        prices,
        budget,
    )


def _columns(args: Namespace, plan: Plan) -> dict[str, str]:
    columns = {field: ",".join(sources) for field, sources in columns_of(args.column).items()}
    unknown = sorted(columns.keys() - {each.name for each in plan.shape.inputs})
    if unknown:
        known: list[Any] = [each.name for each in plan.shape.inputs]
        raise BadConfig(f"--column names an input of the program ({', '.join(known)}), got {unknown[0]!r}")
    return columns
