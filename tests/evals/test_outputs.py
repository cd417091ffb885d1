"""What functions give for inputs, in each language that can be run; and which inputs are drawn."""

from __future__ import annotations

import random

import pytest
from sandbox_world import SANDBOXED, TCL

from stillroom.errors import BadConfig
from stillroom.evals.outputs import agree, arguments, outputs, parameters
from stillroom.evals.sandbox import Limits

SHORT = Limits(seconds=1, cpu_seconds=1)


@SANDBOXED
@pytest.mark.parametrize(
    ("language", "code", "fault"),
    [
        ("sql", "SELECT (", "does not compile"),
        ("sql", "DROP TABLE x", "does not compile"),
        ("python", "def other(): ...", "it defines no f"),
        ("python", "def f(", "was never closed"),
        pytest.param("tcl", "proc f {a} {", "does not parse", marks=TCL),
        pytest.param("tcl", "proc g {a} { return 1 }", "defines no procedure f", marks=TCL),
        pytest.param("tcl", "nosuchcommand", "does not compile", marks=TCL),
    ],
)
def test_what_does_not_parse_or_compile_says_so(language, code, fault):
    assert fault in outputs(code, "f", [[1]], language=language, names=["a"], like=[1]).fault


@SANDBOXED
def test_outputs_keep_their_kinds_and_faults_stay_with_their_input():
    found = outputs("def f(a):\n    return [10 // a, a > 1, str(a), a / 2]\n", "f", [[2], [0]])
    assert found.values[0] == [5, True, "2", 1.0]
    assert "ZeroDivisionError" in found.errors[1]
    assert outputs("SELECT 'x'", "f", [[1]], language="sql", names=["a"], like=[[1]]).errors  # no JSON list
    assert outputs("SELECT :a = 1", "f", [[1], [2]], language="sql", names=["a"], like=[True, True]).values == (
        True,
        False,
    )
    assert outputs("SELECT 5", "f", [[1]], language="sql", names=["a"], like=[True]).errors
    assert outputs("SELECT 1, 2", "f", [[1]], language="sql", names=["a"], like=[1]).errors
    assert "in time" in outputs("def f(a):\n    while a: pass\n", "f", [[1]], limits=SHORT).fault


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [(1, 1.0, True), (0.1 + 0.2, 0.3, True), (1, True, False), ([1, [2]], [1, [2]], True), ([1], [1, 2], False), ("1", 1, False), (None, None, True), ({"a": 1}, {"a": 1.0}, True)],
)  # fmt: skip
def test_outputs_are_the_same_by_kind_and_value(left, right, same):
    assert agree(left, right) is same


def test_inputs_follow_the_annotations_and_the_seed():
    code = "def f(a: int, b: list[str], c: bool, d: list[list[int]]) -> int:\n    return 7\n"
    drawn = arguments(code, "f", 30, random.Random(5))
    assert len(drawn) == 30
    assert drawn == arguments(code, "f", 30, random.Random(5))
    assert all(type(a) is int and type(c) is bool for a, _, c, _ in drawn)
    assert all(isinstance(each, str) for _, b, _, _ in drawn for each in b)
    assert {6, 7, 8} & {a for a, *_ in drawn}  # the edges of what stands in the code
    assert parameters(code, "f") == {"a": "int", "b": "list[str]", "c": "bool", "d": "list[list[int]]"}
    for odd in ("def f(a): ...", "def f(a: dict[str, int]): ...", "def f(): ...", "def g(a: int): ...", "def f(a: int"):
        with pytest.raises(ValueError, match=r"inputs can be drawn|defines no function|does not parse"):
            arguments(odd, "f", 3, random.Random(0))


@SANDBOXED
@TCL
def test_tcl_has_the_functions_that_its_own_library_defines():
    program = "proc f {a} { return [expr {max(min($a, 3), 1)}] }"
    assert outputs(program, "f", [[7], [0], [2]], language="tcl", like=[1, 1, 1]).values == (3, 1, 2)


def test_an_unknown_language_is_refused():
    with pytest.raises(BadConfig, match="a language must be one of python, tcl, sql, got 'cobol'"):
        outputs("", "f", [[1]], language="cobol")


@SANDBOXED
def test_a_programs_names_and_those_that_run_it_do_not_meet():
    program = """
import json
from dataclasses import dataclass

def plain(x): return x * 2
def called(x): return plain(x) + 1
def run(x): return called(x)

@dataclass
class Pair:
    left: "int"

def found(x): return Pair(run(x)).left

if __name__ == "__main__":
    raise SystemExit(1)
"""
    for entry, right in (("plain", 6), ("called", 7), ("run", 7), ("found", 7)):
        assert outputs(program, entry, [[3]]).values == (right,)
