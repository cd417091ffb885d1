"""What the execute method does with solutions and tests: runs them, keeps the turns of a repair, and makes records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stillroom.evals.code import extract_code
from stillroom.evals.execution import Outcome, caught, check_response, run_test, standing, static_fault, table
from stillroom.evals.sandbox import Limits
from stillroom.programs.flow import State

from ._written_tests import single_tests

if TYPE_CHECKING:
    from .execute import Params

__all__ = ["ADDS", "Runs", "fenced", "summed_up"]

ADDS = (
    "attempts", "tests", "written_tests", "grid", "passes", "right", "dropped", "code", "feedback", "turns", "broken",
)  # fmt: skip
_MUTANT_SECONDS = 2.0  # a mutant that loops is noticed as well by a shorter limit


@dataclass(frozen=True)
class Runs:
    """Runs attempts against tests.

    Attributes:
        code: Whether attempts are Python and tests asserts; else responses, and functions that check them.
        share: Of the tests, for a right attempt.
        lint: Whether the linter must have nothing to say.
        limits: Of one attempt under one test.
        trusted: Whether tests are those of people: none is dropped for being failed by all.
    """

    code: bool
    share: float
    lint: bool
    limits: Limits
    trusted: bool = False

    def first(self, row: State) -> Mapping[str, Any]:
        """All attempts against all tests."""
        entry = row["entry"]
        said = [each["code"] if self.code else each["response"] for each in row["tries"]]
        attempts = [extract_code(each, defines=entry) for each in said] if self.code else said
        tests = self.readable(row["written"], entry) if "written" in row else list(row["human"])
        found = self.run(attempts, tests)
        best = found["right"][0] if found["right"] else max(range(len(attempts)), key=lambda at: found["passes"][at])
        turn = {"code": attempts[best], "tests": found["tests"], "feedback": found["told"][best]}
        del found["told"]
        return {
            **found, "attempts": attempts, "written_tests": tests, "code": attempts[best],
            "feedback": turn["feedback"], "turns": [turn], "broken": "",
        }  # fmt: skip

    def again(self, fixed: str, *, edits: bool) -> Callable[[State], Mapping[str, Any]]:
        """One more run, of what a repair has given; nothing where there was none to make."""

        def work(row: State) -> Mapping[str, Any]:
            same = {name: row[name] for name in ADDS}
            if row["right"] or not row[fixed]:
                return same
            answer = row[fixed][0]
            code = extract_code(answer["fixed_code"], defines=row["entry"])
            tests = self.readable([{"tests": answer["fixed_tests"]}], row["entry"]) if edits else row["tests"]
            tests = tests or row["tests"]
            found = self.run([code], tests)
            turn = {"code": code, "tests": tests, "feedback": found["told"][0]}
            del found["told"]
            broken = ""
            if found["right"] and tests != row["written_tests"]:
                broken = self.arbitrated(code, row["human"], row["written_tests"])
            return {
                **same, **found, "attempts": [*row["attempts"], code], "code": code, "feedback": turn["feedback"],
                "turns": [*row["turns"], turn], "broken": broken,
                # of what was repaired the last attempt is the one that counts
                "right": [len(row["attempts"])] if found["right"] else [],
                "passes": [*row["passes"], *found["passes"]],
                "grid": [*row["grid"], *found["grid"]],
            }  # fmt: skip

        return work

    def run(self, attempts: Sequence[str], tests: Sequence[str]) -> dict[str, Any]:
        """The table of attempts and tests, and what it comes to; `told` is what each attempt's author should know."""
        faults = [static_fault(each, lint=self.lint) if self.code else "" for each in attempts]
        outcomes = [
            [Outcome(False, fault, fault) for _ in tests] if fault else table([attempt], tests, self.meet)[0]
            for attempt, fault in zip(attempts, faults, strict=True)
        ]
        grid = [[each.passed for each in row] for row in outcomes]
        found = standing(grid, self.share, trusted=self.trusted)
        counted = [tests[at] for at in found.surviving]
        return {
            "tests": counted,
            "grid": [[row[at] for at in found.surviving] for row in grid],
            "passes": list(found.passes),
            "right": list(found.right),
            "dropped": [test for at, test in enumerate(tests) if at not in found.surviving],
            "told": [_told(tests, row) for row in outcomes],
        }

    def meet(self, attempt: str, test: str) -> Outcome:
        """One attempt under one test."""
        run = run_test if self.code else check_response
        return run(attempt, test, limits=self.limits)

    def readable(self, written: Sequence[Mapping[str, Any]], entry: str) -> list[str]:
        """The tests that are Python at all, each once."""
        if self.code:
            return list(dict.fromkeys(test for each in written for test in single_tests(each["tests"], entry)))
        bare = [extract_code(each["fn"]).strip() for each in written]
        return list(dict.fromkeys(test for test in bare if test and not static_fault(test, lint=False)))

    def arbitrated(self, code: str, human: Sequence[str], written: Sequence[str]) -> str:
        """Why code whose tests were changed may not be kept, or "".

        It must pass all tests of people; where there are none, most of those that were written first.
        """
        tests = human or written
        passed = sum(outcome.passed for outcome in table([code], tests, self.meet)[0])
        if human and passed < len(human):
            return f"its tests were changed, and it passes {passed} of {len(human)} tests of people"
        if not human and 2 * passed <= len(written):
            return f"its tests were changed, and it passes {passed} of the {len(written)} written first"
        return ""


def _told(tests: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """What went wrong, the first three failures in full: faults of form are said once."""
    said: dict[str, None] = {}
    for test, each in zip(tests, outcomes, strict=True):
        if not each.passed:
            said[each.said if each.said == each.why else f"{test}\n{each.said or each.why}"] = None
    return "\n\n".join(list(said)[:3])


def fenced(code: str) -> str:
    """Python as an answer shows it."""
    return f"```python\n{code.strip()}\n```"


def summed_up(params: Params, runs: Runs) -> Callable[[State], Mapping[str, Any]]:
    """Make the records of a problem whose tests were passed."""
    written = fenced if runs.code else str

    def work(row: State) -> Mapping[str, Any]:
        attempts, right = row["attempts"], row["right"]
        different = list(dict.fromkeys(attempts[at].strip() for at in right))
        kept = [written(each) for each in different[: params.cap]]
        changed = row["turns"][-1]["tests"] != row["turns"][0]["tests"]
        # whoever failed tests that were changed since is not known to be wrong
        failed = [] if changed else [each for at, each in enumerate(attempts) if at not in right]
        wrong = [written(each) for each in dict.fromkeys(failed) if each.strip() and each.strip() not in different]
        prompt = row["problem"]
        share = None
        if runs.code and params.mutants:
            limits = replace(runs.limits, seconds=min(runs.limits.seconds, _MUTANT_SECONDS))
            share = caught(attempts[right[0]], row["entry"], row["tests"], most=params.mutants, limits=limits)
        return {
            "completion": kept[0],
            "tests": row["tests"],
            "kept": [{"prompt": prompt, "completion": each} for each in kept],
            "pairs": [
                {"prompt": prompt, "chosen": chosen, "rejected": rejected}
                for chosen, rejected in [(one, other) for one in kept for other in wrong][: params.pairs]
            ],
            "labelled": [
                {"prompt": prompt, "completion": each, "label": label}
                for label, found in ((True, kept), (False, wrong))
                for each in found
            ],
            "messages": list(_messages(prompt, row["turns"], written)),
            "attempts": attempts,
            "grid": row["grid"],
            "passes": row["passes"],
            "dropped": row["dropped"],
            "repairs": len(row["turns"]) - 1,
            "changed": changed,
            "caught": share,
            "weak": share is not None and share < params.strong,
        }

    return work


def _messages(
    prompt: str, turns: Sequence[Mapping[str, Any]], written: Callable[[str], str]
) -> Sequence[dict[str, str]]:
    """The dialogue: problem, solution, and what went wrong with it, until nothing did."""
    said = [{"role": "user", "content": prompt}]
    for number, turn in enumerate(turns):
        if number:
            said.append({"role": "user", "content": f"That does not work:\n\n{turns[number - 1]['feedback']}"})
        content = written(turn["code"])
        if number and turn["tests"] != turns[number - 1]["tests"]:
            content += "\n\nThe tests had to change as well:\n\n" + written("\n".join(turn["tests"]))
        said.append({"role": "assistant", "content": content})
    return said
