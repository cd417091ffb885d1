"""The command line with a scripted model in place of every other: for this process, and as a child.

python scripted_cli.py LOG LATENCY VERB ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import scripted_world as world

import stillroom.engines
from stillroom.engines import ScriptedEngine

TASK = """
from pathlib import Path
from typing import Literal

import stillroom as st


class Topic(st.Signature):
    '''Name the topic of a customer's message.'''

    message: str = st.Input()
    topic: Literal["billing", "delivery", "account"] = st.Output()


task = st.Task(Topic, data=Path(__file__).parent / "{data}", metric=st.exact("topic"), name="topics", seed=3)
recipe = st.recipes.labelled(per_label=4)
gates = st.gates.default(task, None)
settings = st.Settings(trials=4, proposals=1)
"""


def write_task(folder: Path, more: str = "", *, data: str = "rows.jsonl", rows: list | None = None) -> Path:
    """A task file and its rows; `more` is added to the file."""
    lines = [json.dumps(row) for row in (world.rows(72) if rows is None else rows)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "topics.py"
    path.write_text(TASK.format(data=data) + more, encoding="utf-8")
    return path


def scripted(log: Path, latency: float = 0.0, **settings) -> ScriptedEngine:
    """The world's model, which writes every served call into `log`."""
    return world.engine(log, latency=latency, max_concurrency=4, **settings)


def served(log: Path) -> list[str]:
    """Keys of the calls that were served, in order."""
    return [json.loads(line)["key"] for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


if __name__ == "__main__":
    stillroom.engines.open_engine = lambda spec, **settings: scripted(Path(sys.argv[1]), float(sys.argv[2]))
    from stillroom.cli import main

    sys.exit(main(sys.argv[3:]))
