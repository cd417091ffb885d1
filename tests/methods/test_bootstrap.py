"""The acceptance checks of the bootstrap method: pools that grow from seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_world import World

SEEDS = Path(__file__).parents[3] / "shared" / "data" / "self_instruct_seeds"


def world(tasks) -> World:
    calls = iter(tasks)
    return World(
        {
            "propose": lambda inputs: {"tasks": next(calls, [])},
            "classify": lambda inputs: {"verdict": "yes" if "review" in inputs["text"] else "no"},
            "label first": lambda inputs: {
                "instances": [{"label": "good", "input": "I liked it"}, {"label": "bad", "input": "I hated it"}]
            },
            "input first": lambda inputs: {"instances": [{"input": "", "output": f"Done: {inputs['task']}"}]},
        }
    )


@pytest.mark.acceptance("2.1 D2")
def test_no_prompt_shows_more_than_two_machine_tasks(tmp_path):
    words = [f"{first}{second}" for first in "bdfglmnp" for second in ("ar", "el", "in", "os")]
    made = [[f"{one} {two} {one}{two} {two}{one}" for two in words[:8]] for one in words]
    here = world(made)
    here.run("self-instruct", tmp_path, rows=120)
    seeds = {json.loads(line)["instruction"] for line in _sample()}
    shown = [
        [task for task in inputs["demos"] if task not in seeds] for call, inputs in here.asked if call == "propose"
    ]
    assert max(map(len, shown)) == 2
    assert all(len(inputs["demos"]) == 8 for call, inputs in here.asked if call == "propose")


def _sample() -> list[str]:
    from stillroom.programs.published import sample

    return sample("tasks.jsonl").read_text(encoding="utf-8").splitlines()
