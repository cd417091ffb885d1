"""What an instruction is evolved by, as tables: for instructions of any kind, for code, for mathematics, for Hunyuan.

The operations are those of WizardLM (Xu et al. 2023, arXiv:2304.12244; code: nlpxucan/WizardLM), WizardCoder (Luo et
al. 2023, arXiv:2306.08568), Apple's AFM (2024, arXiv:2407.21075) and Hunyuan-Large (Tencent 2024, arXiv:2411.02265),
in words of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["TABLES", "Operation"]


@dataclass(frozen=True)
class Operation:
    """One way to make an instruction harder or broader.

    Attributes:
        name: As lineages name it.
        kind: Whether the instruction stays the same one and gets harder ("depth"), or another one comes of it ("breadth").
        text: What the model is told to do.
    """

    name: str
    kind: Literal["depth", "breadth"]
    text: str


def _deeper(name: str, how: str) -> Operation:
    rest = "Keep everything it comes with (tables, code, input), stay reasonable, and add no more than 10 to 20 words."
    return Operation(name, "depth", f"Make it somewhat harder: {how} {rest}")


GENERAL = (
    _deeper("constraint", "add one more constraint or requirement."),
    _deeper("deepen", "where it asks about something, ask more deeply and more broadly."),
    _deeper("concretise", "replace general concepts by more specific ones."),
    _deeper("reasoning", "where it can be done in a few simple steps of thought, ask for several steps of reasoning."),
    _deeper("input", "add data that it has to work with, such as a short table, a formula or a piece of code."),
    Operation(
        "breadth",
        "breadth",
        "Write a brand new instruction that it inspires: of the same domain, but rarer; of similar length and difficulty.",
    ),
)
_CODE = "Make the programming task a bit harder."
CODE = (
    Operation("constraint", "depth", f"{_CODE} Add new constraints and requirements, in about 10 more words."),
    Operation("rarer", "depth", f"{_CODE} Replace a common requirement by a rarer and more specific one."),
    Operation("reasoning", "depth", f"{_CODE} Where a few logical steps solve it, make it need more of them."),
    Operation("misdirection", "depth", f"{_CODE} Give a piece of erroneous code as a reference that misleads."),
    Operation("complexity", "depth", f"{_CODE} Ask for a better time or space complexity, where that makes sense."),
)
MATHEMATICS = (
    Operation(
        "depth", "depth", "Make the problem harder: it must take more steps to solve, and have one answer still."
    ),
    Operation(
        "breadth", "breadth", "Write another problem of a related topic that is rarer, about as hard, with one answer."
    ),
)
HUNYUAN = (
    Operation("clarify", "depth", "Make it clearer: say precisely what is asked, and remove what can be misread."),
    Operation("enrich", "depth", "Make it more informative: add the background and details that a good answer needs."),
    Operation("harden", "depth", "Make it harder: a good answer must take more knowledge or more steps of reasoning."),
)

TABLES: Mapping[str, tuple[Operation, ...]] = {
    "general": GENERAL,
    "code": CODE,
    "mathematics": MATHEMATICS,
    "hunyuan": HUNYUAN,
}
"""All tables by name."""
