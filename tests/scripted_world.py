"""A small world with known answers: a task, and a scripted model that is better with demos than without.

Used by tests in this process and by the children that kill -9 tests start.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import warnings
from pathlib import Path
from typing import Literal

import dspy
import numpy as np

import stillroom as st
from stillroom.engines import ScriptedEngine
from stillroom.signatures import DataWarning

WORDS = {
    "billing": ["invoice", "refund", "charge", "receipt", "payment"],
    "delivery": ["parcel", "courier", "tracking", "shipment", "address"],
    "account": ["login", "profile", "username", "email", "settings"],
}
PLACES = ["Leeds", "Porto", "Turku", "Graz", "Lyon", "Cork", "Bergen", "Ghent", "Split", "Kyoto"]
THINGS = ["bicycle", "lamp", "jacket", "printer", "kettle", "guitar", "camera", "sofa", "watch", "tent"]


class Topic(dspy.Signature):
    """Name the topic of a customer's message."""

    message: str = dspy.InputField()
    topic: Literal["billing", "delivery", "account"] = dspy.OutputField()


def rows(count: int = 240) -> list[dict[str, str]]:
    """Labelled rows, no two alike."""
    found, rng = [], random.Random(5)
    for number in range(count):
        topic = list(WORDS)[number % 3]
        found.append({"message": sentence(topic, rng), "topic": topic})
    return list({row["message"]: row for row in found}.values())


def sentence(topic: str, rng: random.Random) -> str:
    """A message whose words tell its topic."""
    first, second = rng.sample(WORDS[topic], 2)
    return f"{rng.choice(PLACES)} order {rng.randint(100, 99999)} for a {rng.choice(THINGS)}: the {first} and the {second} look {rng.choice(['odd', 'wrong', 'late', 'fine', 'new'])} on day {rng.randint(1, 400)}"


def task(count: int = 240) -> st.Task:
    """The world's task."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return st.Task(Topic, data=rows(count), metric=st.exact("topic"), name="world", seed=3)


def chance(*parts: object) -> float:
    """A fixed number in 0..1 for these parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 16**8


def answer(request: dspy.lm15.Request) -> str:
    """Reply as a model would: proposals, written rows and labels, each a fixed function of the request."""
    system, last = str(request.system), request.messages[-1].text or ""
    if "You improve the instruction" in system:
        return json.dumps(
            {"instruction": f"Decide by the nouns of the message which topic it has, variant {request.config.seed}."}
        )
    if "Define one" in system:
        return json.dumps({"definition": "Messages of customers who talk about this and nothing else."})
    if "You write realistic examples" in system:
        topic = re.search(r"topic: (\w+)", last)[1]
        rng = random.Random(f"{request.config.seed}")
        wrong = chance("write", request.config.seed) < 0.1
        return json.dumps({"message": sentence(rng.choice(sorted(WORDS)) if wrong else topic, rng)})
    right = next((topic for topic, words in WORDS.items() if any(word in last for word in words)), "account")
    shown = len(request.messages) // 2
    skill = 0.6 if shown == 0 else 0.85 if shown < 6 else 0.97
    label = right if chance("answer", last) < skill else sorted(WORDS)[(sorted(WORDS).index(right) + 1) % 3]
    if "JSON" in system:
        return json.dumps({"topic": label})
    if "[[ ## topic ## ]]" in system:
        return f"[[ ## topic ## ]]\n{label}\n[[ ## completed ## ]]"
    return f"<topic>{label}</topic>" if "<topic>" in system else label


def engine(log: Path | None = None, **settings: object) -> ScriptedEngine:
    """The scripted model."""
    return ScriptedEngine(answer, name="world", log=log, **settings)


class WordEmbedder:
    """Counts of words as vectors: enough for a world in which words tell everything."""

    digest = "words-v1"

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit vectors, (n, 256)."""
        vectors = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, int(chance(word) * 256)] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
