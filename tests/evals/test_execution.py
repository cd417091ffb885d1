"""Attempts against tests: what a table of outcomes comes to, and what is said before anything is run."""

from __future__ import annotations

import pytest
from sandbox_world import SANDBOXED

from stillroom.errors import BadConfig
from stillroom.evals.execution import check_response, standing, static_fault

SHORTER = "def check(response: str) -> bool:\n    return len(response.split()) <= 4\n"


@pytest.mark.parametrize(
    ("passed", "tests", "share", "right"),
    [
        (4, 5, 0.8, True),
        (3, 5, 0.8, False),
        (8, 10, 0.8, True),
        (7, 10, 0.8, False),
        (0, 5, 0.0, False),
        (1, 5, 0.0, True),
    ],
)
def test_a_right_solution_passes_its_share_of_the_tests_rounded_up(passed, tests, share, right):
    grid = [[True] * passed + [False] * (tests - passed), [True] * tests]
    assert (0 in standing(grid, share).right) is right


def test_the_solution_that_passes_most_comes_first():
    assert standing([[True, True, False, True], [True] * 4, [True] * 4], 0.7).right == (1, 2, 0)
    with pytest.raises(BadConfig, match="full table"):
        standing([[True], [True, False]])


@pytest.mark.acceptance("2.5 D2")
def test_one_solution_alone_does_not_make_the_tests_it_fails_suspect():
    assert standing([[True, False]], 1.0).surviving == (0, 1)
    assert standing([[True, False]], 1.0).right == ()


@SANDBOXED
def test_a_check_sees_the_response_alone_and_a_broken_one_says_no():
    assert check_response("one two", SHORTER).passed
    assert not check_response("one two three four five", SHORTER).passed
    assert "failed" in check_response("x", "def check(response):\n    return 1 / 0\n").why
    assert "'check' is not defined" in check_response("x", "def other(): ...").why


def test_parser_and_linter_speak_before_anything_is_run():
    assert static_fault("def f(:", lint=False)
    assert static_fault("def f():\n    return y\n", lint=False) == ""
    assert "undefined name 'y'" in static_fault("def f():\n    return y\n", lint=True)
