"""What rows must have asked for, where each of them ended: exact without conditions, and off only by mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flow_world import Model, flow, plan

from stillroom.engines import open_session
from stillroom.evals import Verdict
from stillroom.evals.gates import Agreement, Schema
from stillroom.programs import blind
from stillroom.programs.flow import INPUTS, Ask, Flow, Split, Wanted, run_flow
from stillroom.programs.forecast import Estimate, compared, forecast, foresee, remember
from stillroom.programs.forecast.compared import Compared
from stillroom.programs.published import Once
from stillroom.signatures import Field

LIST = Field("items", {"type": "array", "items": {"type": "string"}})


class Long:
    """A gate: texts with a 7 in them are too long."""

    name, on_fail, by = "long", "rejected", "verifier"

    def check(self, batch):
        return [Verdict.fail("too long") if "7" in str(each.values.get("b")) else Verdict.ok() for each in batch]

    def keep(self, passed):
        pass


def says(request):
    """Three items, then a reply to each; some are no JSON at first, some never."""
    words, text = str(request.system), request.messages[0].text or ""
    if "items" in words:
        return json.dumps({"items": [f"{text} {n}" for n in range(3)]})
    if "verdict" in words:
        return json.dumps({"verdict": "no" if "9" in text else "yes"})
    if text.startswith("x 1 ") or ("x 5" in text and len(request.messages) == 1):
        return "no JSON at all"
    return json.dumps({"b": f"re {text}"})


def made(engine: Model, **settings) -> Flow:
    """Propose three, reply to each, look at the reply, let a model judge it."""
    propose = plan("q", "items")
    propose = replace(propose, shape=replace(propose.shape, outputs=(LIST,)))
    reply = plan("items", "b")
    judge = blind(
        plan("b", "verdict", name="Judge", temperature=0.0),
        engine,
        lambda wished, outputs: Verdict.ok() if outputs["verdict"] == "yes" else Verdict.fail("judged bad"),
    )
    parts = (
        Ask("propose", propose),
        Split("split", "items"),
        Ask("reply", reply, **settings),
        Schema(replace(reply.shape, inputs=())),
        Long(),
        Agreement(judge),
    )
    return flow({"x": 30}, parts, emits=("q", "items", "b"), text=("b",))


def ran(folder: Path, found: Flow, engine: Model, *, unseen: int = 0) -> Compared:
    """Run it and compare; the papers of `unseen` rows lack a call."""
    with open_session(engine, folder, "emit", {"flow": found.key}) as session:
        remember(found, session)
        run_flow(found, session)
        session.store.flush()
        if unseen:
            rows = list(session.store.rows(found.key))
            session.store.put_rows(
                found.key,
                [
                    replace(row, place=f"y/{at}/0", passport=replace(row.passport, calls=row.passport.calls + 5))
                    for at, row in enumerate(rows[:unseen])
                ],
            )
            session.store.flush()
        compare = compared(session.store, "emit", found.key, flow=found, engines=[engine])
    assert compare is not None
    return compare


def test_without_conditions_it_is_one_number_and_what_came(tmp_path: Path):
    """Calls before a split count once, those of stopped rows up to their gate, those asked again twice."""
    engine = Model(says)
    found = ran(tmp_path, made(engine), engine)
    assert found.must.high == pytest.approx(found.asked)
    assert found.must.low <= found.asked
    assert (found.off, found.close) == (0, True)
    with_faults = found.must.high - found.must.low
    assert 0 < with_faults < 0.2 * found.asked  # rows that never parsed may have asked for less
    assert f"asked were {found.asked:.2f} (+0.0%)" in str(found)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_condition_makes_it_bounds(tmp_path: Path):
    """Whether a step was done is not known from where the row ended."""
    engine = Model(says)
    found = ran(tmp_path, made(engine, when=lambda row: "2" not in row["items"]), engine)
    assert found.must.low < found.asked < found.must.high
    assert found.close


def test_calls_that_no_part_explains_are_said_to_be_off(tmp_path: Path):
    """More than a tenth off is a mistake, of the forecast or of the bill."""
    engine = Model(says)
    found = ran(tmp_path, made(engine), engine, unseen=20)
    assert found.asked > 1.1 * found.must.high
    assert found.off < -0.1
    assert not found.close


def test_what_is_split_later_may_take_less_than_a_call_for_each_row(tmp_path: Path):
    """Three rows of one proposal: the least that was forecast holds."""
    engine = Model(says)
    told = forecast(made(engine), [engine])
    found = ran(tmp_path, made(engine), engine)
    assert told.per_row["calls"].low <= found.must.low
    assert told.per_row["calls"].low == 2  # the reply and its judge; what proposes is shared


def test_a_source_that_ends_when_it_has_enough_is_not_run_to_its_end(tmp_path: Path):
    """As few calls as rows wanted at the least, all of the input at the most; a probe tells what is between."""

    def rows():
        return (Wanted(INPUTS, slot, {"q": f"x {slot}"}, key="") for slot in range(400))

    engine = Model(lambda request: json.dumps({"a": f"re {request.messages[0].text}"}))
    settings = {"source": Once(rows, 20), "block": 8, "window": 8, "attempts": 1}
    once = flow(parts=(Ask("write", plan()), Schema(plan().shape)), **settings)
    told = forecast(once, [engine])
    assert (told.wanted, told.rows, told.calls) == (20, Estimate(0, None, 20), Estimate(20, None, 800))
    with open_session(engine, tmp_path, "emit", {"flow": once.key}) as session:
        seen = foresee(once, session, rows=8)
        emitted = run_flow(once, session)
        spent = session.ledger.spent.calls
    assert len(emitted.rows) == seen.wanted == 20
    assert seen.rows.high == 20
    assert seen.calls.low <= spent <= seen.calls.high < 60
