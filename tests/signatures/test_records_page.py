"""docs/records.md: its table is what the code does, and its program runs."""

from __future__ import annotations

import re
from pathlib import Path

from records_world import row

from stillroom.programs import Emitted
from stillroom.programs.export import write_rows
from stillroom.signatures.records import SCHEMAS, TRAINERS, trl_schema

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")


def test_the_table_of_schemas_is_true():
    """Names, fields in their order, trainers, and what is written for them."""
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    expected = []
    for name, schema in SCHEMAS.items():
        goal = "-" if name == "audit" else trl_schema(name)
        trainers = ", ".join(TRAINERS.get(goal, ())) or "-"
        expected.append((name, ", ".join(schema.names()), trainers, goal))
    assert found == expected


def test_the_program_runs(tmp_path: Path, monkeypatch, capsys):
    """Word for word, on a run of one question with a wrong answer beside the right one."""
    monkeypatch.chdir(tmp_path)
    right = row({"question": "two plus two", "reply": "four"})
    wrong = row({"question": "two plus two", "reply": "five"}, "x/0/1", gate="tests")
    write_rows(Emitted([right], [wrong], (), {}), Path("runs/questions"))
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(compile(program, "records.md", "exec"), {})
    assert capsys.readouterr().out == "two plus two Apache-2.0 5\n"
    assert Path("out/pref/state.json").is_file()
