"""Steps that write one field anew, beside steps that do not need it."""

from __future__ import annotations

from stillroom.engines import open_session
from stillroom.engines.scripted import ScriptedEngine
from stillroom.programs.flow import Do, Flow, Quotas, Wanted, run_flow


def test_a_field_may_be_written_twice_among_steps_that_run_together(tmp_path):
    """The later step's value stands, and the fields keep the order of their first steps."""
    flow = Flow(
        "rewrites",
        Quotas({"a": 2}, lambda cell, slot: Wanted(cell, slot, {"x": slot})),
        (
            Do("first", lambda row: {"said": "one", "p": row["x"]}, reads=("x",), adds=("said", "p")),
            Do("beside", lambda row: {"other": 1}, reads=(), adds=("other",)),
            Do("second", lambda row: {"said": "two", "q": row["x"]}, reads=("x",), adds=("said", "q")),
        ),
        emits=("said", "p", "other", "q"),
    )
    with open_session(ScriptedEngine({}), tmp_path, "emit", {"flow": flow.key}) as session:
        made = run_flow(flow, session)
    assert [row.values for row in made.rows] == [{"said": "two", "p": at, "other": 1, "q": at} for at in range(2)]
