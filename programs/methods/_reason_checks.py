"""What is checked of a worked solution: its answer, its sums, what its code printed; and what is made of a problem."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.evals import Verdict
from stillroom.evals.verifiers import numeric, parse_number, symbolic
from stillroom.programs.flow import At, Do, Part, State
from stillroom.programs.published import Rule

from ._figures import NUMBER, false_sum, names, numbers
from ._running import run_pieces

__all__ = ["Consensus", "compared", "consensus", "correction", "math_equal", "mixed", "reverse", "shown", "unsound"]

_BARE = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


def math_equal(truth: str, answer: str, seconds: float = 5.0) -> Verdict:
    r"""Whether an answer is the known one as mathematics: 1/2 is 0.5, 1,000 is 1000; a unit may be left out.

    Unverified where it could not be told, which is nobody's wrong answer.

    Args:
        truth: Known to be right.
        answer: A formula, or a text that ends in one (\boxed{}, or behind "answer is").
        seconds: For the comparison.
    """
    plain = _BARE.fullmatch(truth.strip()) and _BARE.fullmatch(answer.strip())  # most are, and need no algebra
    check = numeric("answer") if plain else symbolic("answer", seconds=seconds)
    return check({"answer": truth}, {"answer": answer})


def compared(seconds: float) -> list[Part]:
    """Compare `answer` with `truth`: `equal` is yes, no, open, or unknown where there is no truth; `unequal` says why.

    What could not be told is left to a person.
    """

    def work(row: State) -> Mapping[str, Any]:
        if not row["truth"]:
            return {"equal": "unknown", "unequal": ""}
        found = math_equal(row["truth"], row["answer"], seconds)
        return {"equal": "open" if not found.verified else "yes" if found.passed else "no", "unequal": found.why}

    def why(row: Mapping[str, Any]) -> str:
        return str(row["unequal"]) if row["equal"] == "open" else ""

    known = Rule("answer could be compared", why, by="verifier", on_fail="audit")
    return [
        Do("compare", work, ("truth", "answer"), ("equal", "unequal"), beside=True),
        At(known, ("equal", "unequal")),
    ]


@dataclass(frozen=True)
class Consensus:
    """The answer that most samples agree on, and the share of all samples that gave it."""

    answer: str
    share: float


def consensus(answers: Sequence[str], samples: int) -> Consensus | None:
    """What most of `samples` answers agree on; None of none. The earliest of equals counts.

    Args:
        answers: Those that could be read.
        samples: How many were asked for: what could not be read agrees with nothing.
    """
    groups: list[tuple[str, int]] = []
    for answer in answers:
        for at, (first, count) in enumerate(groups):
            if math_equal(first, answer).passed:
                groups[at] = (first, count + 1)
                break
        else:
            groups.append((answer, 1))
    if not groups:
        return None
    answer, count = max(groups, key=lambda each: each[1])
    return Consensus(answer, count / samples)


def unsound(steps: Sequence[str], answer: str) -> str:
    """Why the working does not carry the answer, or "".

    Sums that are shown must come out, and a last step that names numbers must name the answer's.
    """
    wrong = false_sum(steps)
    if wrong:
        return f"the working shows {wrong}"
    value = parse_number(answer)
    if value is None or not steps or not numbers(steps[-1]) or names(steps[-1], value):
        return ""
    return f"the last step does not arrive at {answer}"


def shown(steps: Sequence[str], answer: str) -> str:
    """A solution as one text: its steps, a line each, then the answer."""
    return "\n".join([*(each.strip() for each in steps if each.strip()), f"The answer is {answer.strip()}."])


def mixed(blocks: Sequence[Mapping[str, Any]], answer: str) -> dict[str, Any]:
    """Run the code of a mixed solution, and hold what it prints against the text behind it.

    Gives the steps (text, code, what it printed) and `contradiction`: why the solution does not hold, or "".
    """
    codes = [each["body"] for each in blocks if each["kind"] == "code" and each["body"].strip()]
    printed = run_pieces(codes)
    outputs = iter(printed.outputs)
    steps: list[str] = []
    found, last = printed.fault and f"the code fails: {printed.fault}", ""
    behind: list[str] = []  # the text since the last code
    for block in (each for each in blocks if each["body"].strip()):
        body = block["body"].strip()
        if block["kind"] == "code":
            found = found or _against(last, behind)
            last, behind = next(outputs, ""), []
            steps.append(body if body.startswith("```") else f"```python\n{body}\n```")
            steps += [f"```output\n{last}\n```"] if last else []
        else:
            steps.append(body)
            behind.append(body)
    return {"steps": steps, "contradiction": found or _against(last, behind or [answer])}


def _against(output: str, behind: Sequence[str]) -> str:
    """Why the text behind an output does not go with it: it names numbers, and not the last one printed."""
    printed, said = numbers(output), "\n".join(behind)
    if not printed or not numbers(said) or names(said, printed[-1]):
        return ""
    return f"the code prints {output.splitlines()[-1]!r}, the text behind it says otherwise"


def reverse(problem: str, answer: str, rng: random.Random) -> tuple[str, str] | None:
    """Ask for one of the numbers given, with the answer told; (problem, its answer), or None where no number is given.

    In the manner of MetaMath (Yu et al. 2023, arXiv:2309.12284).
    """
    found = list(NUMBER.finditer(problem))
    if not found:
        return None
    unknown = next((each for each in "XYZ" if each not in problem.replace(".", " ").replace("?", " ").split()), "X")
    chosen = rng.choice(found)
    masked = f"{problem[: chosen.start()]}{unknown}{problem[chosen.end() :]}"
    told = f"{masked.rstrip()} The answer to this question is {answer}. What number does {unknown} stand for?"
    return told, chosen[0].replace(",", "")


def correction(problem: str, trace: str, feedback: str, repaired: str) -> list[dict[str, str]]:
    """The conversation in which a mistake is corrected."""
    return [
        {"role": "user", "content": problem},
        {"role": "assistant", "content": trace},
        {"role": "user", "content": feedback},
        {"role": "assistant", "content": repaired},
    ]
