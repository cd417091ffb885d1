"""A world of judges: answers whose worth can be counted, and scripted models that judge them."""

from __future__ import annotations

import json
import random
import re

from stillroom.engines import Score, ScriptedEngine


def shown(request) -> dict[str, str]:
    """The fields of the last message."""
    text = request.messages[-1].text
    found = re.findall(
        r"^(instruction|first|second|response|text|reference|question|answers): (.*)$", text, re.MULTILINE
    )
    return dict(found)


def worth(text: str) -> float:
    """How good an answer is in this world."""
    return text.count("good") - text.count("bad")


def scorer(pull: float = 0.0, skill: float = 1.0):
    """Log-probabilities by worth, with a pull to the first place."""

    def score(request, continuations):
        row = shown(request)
        if "text" in row:
            gap = skill * worth(row["text"])
        elif "response" in row:
            return [
                Score(each, -abs(worth(row["response"]) + 3 - at) * 9, 3) for at, each in enumerate(continuations, 1)
            ]
        else:
            gap = skill * (worth(row["first"]) - worth(row["second"])) + pull
        return [Score(each, gap if at == 0 else 0.0, 3) for at, each in enumerate(continuations)]

    return score


def engine(answer=None, **more) -> ScriptedEngine:
    """A scripted judge; without an answer it can only score."""
    return ScriptedEngine(answer or (lambda request: "?"), name=more.pop("name", "judge"), **more)


def scoring(pull: float = 0.0, skill: float = 1.0) -> ScriptedEngine:
    """A judge by log-probability."""
    return engine(score=scorer(pull, skill))


def writing(pull: float = 0.0) -> ScriptedEngine:
    """A judge that writes which of two answers is better."""

    def answer(request):
        row = shown(request)
        return json.dumps({"better": "first" if worth(row["first"]) - worth(row["second"]) + pull > 0 else "second"})

    return engine(answer)


ROW = {"instruction": "Say hello.", "first": "good", "second": "bad"}


def pairs(count: int) -> list[dict]:
    """Labelled pairs."""
    rng = random.Random(4)
    rows = []
    for at in range(count):
        first, second = rng.sample(["good good", "good", "plain", "bad", "bad bad"], 2)
        better = "first" if worth(first) > worth(second) else "second"
        row = {"instruction": f"task {at // 2}", "first": f"{first} {at}", "second": f"{second} {at}"}
        rows.append({**row, "label": better, "better": better})
    return rows


def rank(request) -> str:
    """Order the shown answers by worth."""
    answers = json.loads(shown(request)["answers"])
    return json.dumps({"order": sorted(range(1, len(answers) + 1), key=lambda at: -worth(answers[at - 1]))})
