"""Answer the user's own rows: a file of prompts in, a file of answers out, as large as one likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine, open_engine, open_session
from stillroom.evals.gates import Gate, Schema, Whole, pins
from stillroom.ledger import Budget
from stillroom.licences import inherited
from stillroom.signatures import shape_of
from stillroom.values import digest

from .export import write_rows
from .flow import Ask, Emitted, Flow, Inputs, run_flow
from .forecast import Forecast, forecast, foresee
from .forecast.standing import Standing
from .plan import Decoding, Plan

if TYPE_CHECKING:
    import dspy

__all__ = ["Answering", "answer", "answering", "foresee_answers"]

PHASE = "answer"
ROOM = 1024  # tokens of an answer where no plan says


@dataclass(frozen=True)
class Answering:
    """What is answered by what: all that the answers are a function of, next to the engine.

    Attributes:
        program: A plan, or a signature, which is asked as it is declared.
        rows: A path to `.jsonl`, `.csv` or `.parquet`, a DataFrame, or rows as mappings. A column named like an
            output is what the row should have: gates that compare get it.
        gates: What answers must pass; where None, their types, and that they are whole and no refusals.
        columns: The column of each input field whose column is called otherwise.
        licence: Of the rows; the answers' licence follows from it and the model's. The user's own where "".
        attempts: Tries of a row whose answer fails a gate; more than one needs a temperature above 0 to be of use.
        seed: Of sampling.
    """

    program: Plan | type[dspy.Signature]
    rows: Any
    gates: Sequence[Gate] | None = None
    columns: Mapping[str, str] | None = None
    licence: str = ""
    attempts: int = 1
    seed: int = 0

    def begun(self, engine: Engine) -> tuple[Flow, dict[str, Any]]:
        """The flow, and all that its run is a function of. Raises `BadInput` for what cannot work."""
        plan = self.program if isinstance(self.program, Plan) else _declared(self.program, engine.model)
        gates = _form(plan) if self.gates is None else self.gates
        settings: dict[str, Any] = {"columns": dict(self.columns or {}), "attempts": self.attempts, "seed": self.seed}
        flow = answering(plan, self.rows, gates, **settings)
        return flow, {"plan": plan.digest, **settings, "licence": self.licence, **pins(gates)}


def answer(
    what: Answering | Plan | type[dspy.Signature],
    rows: Any = None,
    *,
    lm: str | Engine,
    run: Path | str,
    budget: Budget | None = None,
    reuse: Sequence[Path | str] = (),
    retry: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Emitted:
    """Answer every row of an input once, into the run folder: `rows.jsonl`, `rejects.jsonl`, `rows.parquet`.

    Rows are read as they are needed and written in their order, each with all its columns and the
    program's outputs. Equal rows are asked once. Called again, it goes on where it stopped; rows
    appended to the input cost their own calls and no others.

    Args:
        what: A program, which answers `rows`; or both of them as an `Answering`.
        rows: The input, as `Answering` has it.
        lm: An engine, or a name as `stillroom.engines.open_engine` takes it.
        run: The run folder, made when missing; for one input and one program.
        budget: Limits of the phase.
        reuse: Folders of other runs whose finished calls may be taken over, as `open_session` says; free of charge.
        retry: Whether rows that were lost to faults before are tried once more.
        on_progress: Called with (answered, rows begun).
        settings: gates, columns, licence, attempts, seed, as `Answering` has them.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
        FingerprintChanged: If the folder was begun with another program, other gates or other rows.
    """
    asked = _asked(what, rows, settings)
    engine = open_engine(lm) if isinstance(lm, str) else lm
    try:
        flow, fingerprint = asked.begun(engine)
        with open_session(engine, run, PHASE, fingerprint, budget, reuse=reuse) as session:
            own = inherited(engine.model, engine.licence, [asked.licence])
            emitted = run_flow(flow, session, licence=own, retry=retry, on_progress=on_progress)
    finally:
        if isinstance(lm, str):
            engine.close()
    write_rows(emitted, Path(run))
    return emitted


def foresee_answers(
    what: Answering | Plan | type[dspy.Signature],
    rows: Any = None,
    *,
    lm: Engine,
    run: Path | str,
    budget: Budget | None = None,
    reuse: Sequence[Path | str] = (),
    probe: int = 0,
    **settings: Any,
) -> Forecast:
    """Forecast what `answer` will take and give, before it is begun or while it is not ended.

    Args:
        what, rows, lm, run, budget, reuse, settings: As `answer` takes them.
        probe: Answer so many of the rows for real, whose calls the run then finds. 0 spends nothing.

    Raises:
        BadInput: For what cannot work, and for rows that can be read once only.
        FingerprintChanged: As `answer` does.
        BudgetExceeded, EngineError: From the probe; what was answered is kept.
    """
    flow, fingerprint = _asked(what, rows, settings).begun(lm)
    if not probe and not (Path(run) / "run.db").is_file():
        return forecast(flow, [lm], standing=Standing(budget=budget or Budget()), phase=PHASE)
    with open_session(lm, run, PHASE, fingerprint, budget, reuse=reuse, begin=False) as session:
        return foresee(flow, session, rows=probe)


def _asked(what: Answering | Plan | type[dspy.Signature], rows: Any, settings: Mapping[str, Any]) -> Answering:
    if isinstance(what, Answering):
        return replace(what, **settings, **({} if rows is None else {"rows": rows}))
    return Answering(what, rows, **settings)


def answering(
    plan: Plan,
    rows: Any,
    gates: Sequence[Gate],
    *,
    columns: Mapping[str, str] | None = None,
    attempts: int = 1,
    seed: int = 0,
) -> Flow:
    """The flow that answers each of `rows` by `plan` and lets the answers pass `gates`."""
    shape = plan.shape
    texts = tuple(each.name for each in shape.outputs if each.is_text)
    return Flow(
        "answer",
        Inputs(rows, shape.inputs, shape.outputs, columns or {}),
        (Ask("answer", plan), *gates),
        text=texts or tuple(each.name for each in shape.outputs),
        recipe=digest({"answer": plan.digest, "columns": dict(columns or {}), "attempts": attempts, "seed": seed}),
        attempts=attempts,
        seed=seed,
    )


def _form(plan: Plan) -> list[Gate]:
    """Types, and answers that are whole. An empty list may be an answer; an empty text is none."""
    return [Schema(plan.shape), Whole(empty=not any(each.is_text for each in plan.shape.outputs))]


def _declared(signature: type[dspy.Signature], model: str) -> Plan:
    shape = shape_of(signature)
    return Plan(shape, model, shape.instruction, decoding=Decoding(max_tokens=ROOM))
