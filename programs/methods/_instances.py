"""What becomes of the instances of a task: which are kept, and how they are written for training (Self-Instruct).

The rules, their order and the templates are those of the code published with the paper
(yizhongw/self-instruct, `prepare_for_finetuning.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

__all__ = ["WITHOUT_INPUT", "WITH_INPUT", "contradiction", "encoded", "valid"]

Instance = Mapping[str, str]

WITH_INPUT = (
    "{instruction}\nInput: {input}\nOutput:",
    "{instruction}\n\nInput: {input}\n\nOutput:",
    "Task: {instruction}\nInput: {input}\nOutput:",
    "{instruction}\n\n{input}\n\nOutput:",
    "{instruction}\n\n{input}\n\n",
    "{instruction}\n{input}\n\n",
    "Task: {instruction}\n\n{input}\n\n",
)
WITHOUT_INPUT = (
    "{instruction} Output:",
    "{instruction}\nOutput:",
    "{instruction}\n\nOutput:",
    "{instruction}\n",
    "{instruction}\n\n",
    "Task: {instruction}\n\n",
)
PLAIN = "{instruction}\n\n{input}"


def valid(instances: Sequence[Instance]) -> list[dict[str, str]]:
    """Leave out those without an output, whose output is their input, with a field that ends in a colon, and copies."""
    kept: list[dict[str, str]] = []
    for each in instances:
        given, output = each["input"].strip(), each["output"].strip()
        if output and output != given and not output.endswith(":") and not given.endswith(":"):
            made = {"input": given, "output": output}
            if made not in kept:
                kept.append(made)
    return kept


def contradiction(instances: Sequence[Instance]) -> str:
    """The first input that two instances give two outputs, or "": such a task is dropped whole.

    >>> contradiction([{"input": "2", "output": "even"}, {"input": "2", "output": "prime"}])
    '2'
    """
    outputs: dict[str, str] = {}
    for each in instances:
        if each["input"] and outputs.setdefault(each["input"], each["output"]) != each["output"]:
            return each["input"]
    return ""


def encoded(instruction: str, instance: Instance, rng: random.Random | None) -> dict[str, str]:
    """One instance as prompt and completion: in a template drawn with `rng`, or plain without one."""
    given = instance["input"].strip()
    if rng is None:
        template = PLAIN if given else "{instruction}"
    else:
        given = _unnamed(given) if rng.random() < 0.5 else given
        template = rng.choice(WITH_INPUT if given else WITHOUT_INPUT)
    # one pass: braces in a task's own text are no fields
    words = {"instruction": instruction.strip(), "input": given}
    prompt = re.sub(r"\{(instruction|input)\}", lambda found: words[found[1]], template)
    return {"prompt": prompt, "completion": instance["output"].strip()}


def _unnamed(given: str) -> str:
    """An input without the name of its one field and without empty lines, so that not all inputs look alike."""
    if len(set(re.findall(r"(\w+):", given))) == 1:
        given = given.split(":", 1)[1].strip()
    return given.replace("\n\n", "\n")
