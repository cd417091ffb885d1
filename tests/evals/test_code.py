"""Verifiers that run code: what they take for right, wrong and unverified."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given, settings
from hypothesis import strategies as some
from sandbox_world import SANDBOXED

from stillroom.errors import BadConfig, EngineRefused
from stillroom.evals import code as module
from stillroom.evals.code import extract_code, lints, predicate, python_parses, sql, unit_tests
from stillroom.evals.sandbox import Limits

SCHEMA = "CREATE TABLE t(a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"
SHORT = Limits(seconds=0.8, cpu_seconds=0.8)


@SANDBOXED
class TestUnitTests(VerifierContract):
    """Running tests keeps the laws."""

    @pytest.fixture
    def verifier(self):
        return unit_tests("code", tests="tests")

    @pytest.fixture
    def right(self):
        return {"tests": ["assert f(1) == 2", "assert f(-1) == 0"]}, {
            "code": "```python\ndef f(x):\n    return x + 1\n```"
        }

    @pytest.fixture
    def wrong(self):
        return {"tests": ["assert f(1) == 2", "assert f(-1) == 0"]}, {"code": "def f(x):\n    return 2"}


@SANDBOXED
class TestSql(VerifierContract):
    """Comparing results keeps the laws."""

    @pytest.fixture
    def verifier(self):
        return sql("query")

    @pytest.fixture
    def right(self):
        return {"schema": SCHEMA, "query": "SELECT a FROM t"}, {
            "query": "```sql\nSELECT a AS n FROM t ORDER BY 1 DESC;\n```"
        }

    @pytest.fixture
    def wrong(self):
        return {"schema": SCHEMA, "query": "SELECT a FROM t"}, {"query": "SELECT a FROM t WHERE a > 1"}


@SANDBOXED
class TestPredicate(VerifierContract):
    """A predicate that a model wrote keeps the laws, where it is written with care."""

    @pytest.fixture
    def verifier(self):
        return predicate(
            "def check(inputs, outputs):\n    return len(str(outputs.get('a', '')).split()) == inputs['n']",
            name="words",
        )

    @pytest.fixture
    def right(self):
        return {"n": 2}, {"a": "two words"}

    @pytest.fixture
    def wrong(self):
        return {"n": 2}, {"a": "three words here"}


class TestPythonParses(VerifierContract):
    """Compiling keeps the laws."""

    @pytest.fixture
    def verifier(self):
        return python_parses("code")

    @pytest.fixture
    def right(self):
        return {}, {"code": "print(1)"}

    @pytest.fixture
    def wrong(self):
        return {}, {"code": "return 1"}


class TestLints(VerifierContract):
    """Linting keeps the laws."""

    @pytest.fixture
    def verifier(self):
        return lints("code")

    @pytest.fixture
    def right(self):
        return {}, {"code": "def f(x):\n    return x\n"}

    @pytest.fixture
    def wrong(self):
        return {}, {"code": "import os\ndef f(x):\n    return y\n"}


@SANDBOXED
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f(x):\n    while True: pass", "did not finish in time|processor time"),
        ("def f(x):\n    raise SystemExit(0)", "ended before its tests did"),
        ("import os\nos._exit(0)", "ended before its tests did"),
        ("def f(x):\n    return [0] * 10**10", "MemoryError"),
        ("def f(x):\n    print('x' * 10**6)", "more output"),
        ("def g(x):\n    return 2", "NameError: name 'f'"),
        ("def f(x:", "SyntaxError"),
        ("", "no code"),
    ],
)
def test_a_program_that_fails_its_tests_is_wrong_for_a_reason(code: str, why: str):
    """Limits count as failing, and leaving early does not help."""
    found = unit_tests("code", limits=SHORT)({"tests": ["assert f(1) == 2"]}, {"code": code})
    assert found.score == 0.0
    assert __import__("re").search(why, found.why), found.why


@SANDBOXED
def test_a_program_is_imported_not_started():
    """Its main part is not run, and its classes know their module."""
    program = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 1\nif __name__ == '__main__':\n    1 / 0"
    assert unit_tests("code")({"tests": "assert A().x == 1"}, {"code": program}).passed


@SANDBOXED
@pytest.mark.parametrize("tests", [None, [], "", ["assert ("], [3], {"a": 1}])
def test_tests_that_cannot_run_leave_the_answer_unverified(tests: object):
    """The row is at fault, not the answer."""
    assert not unit_tests("code")({"tests": tests}, {"code": "x = 1"}).verified


@SANDBOXED
def test_humaneval_solutions_pass_and_broken_ones_fail():
    """Ten problems, by continuation and whole; `python -m benchmarks.sandbox` takes all with all mutants."""
    data = (
        Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
        / "humaneval"
        / "data.jsonl"
    )
    if not data.is_file():
        pytest.skip("needs ../shared/data/humaneval")
    check = unit_tests("code", tests="test", entry_point="entry_point", prompt="prompt")
    for row in [json.loads(line) for line in data.read_text().splitlines()[::17]]:
        assert check(row, {"code": row["canonical_solution"]}).passed, row["task_id"]
        assert check(row, {"code": f"Here:\n```python\n{row['prompt']}{row['canonical_solution']}```"}).passed, row[
            "task_id"
        ]
        assert check(row, {"code": "    return None\n"}).score == 0.0, row["task_id"]


@SANDBOXED
@pytest.mark.parametrize(
    ("gold", "query", "score"),
    [
        ("SELECT a FROM t", "SELECT a * 1.0 FROM t ORDER BY a DESC", 1.0),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC", 0.0),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", "SELECT a FROM t ORDER BY a DESC", 1.0),
        ("SELECT a FROM t WHERE b <> 'order by'", "SELECT a FROM t WHERE b IN ('y', 'x') ORDER BY a DESC", 1.0),
        ("SELECT b FROM t", "SELECT coalesce(b, '') FROM t", 0.0),
        ("SELECT a FROM t", "SELECT a FROM t UNION ALL SELECT 1", 0.0),
        ("SELECT a FROM t", "SELECT a, b FROM t", 0.0),
        ("SELECT a FROM t", "DELETE FROM t", 0.0),
        ("SELECT a FROM t", "DROP TABLE t", 0.0),
        ("SELECT a FROM t", "ATTACH '/box/x' AS y", 0.0),
        ("SELECT a FROM t", "PRAGMA table_info(t)", 0.0),
        ("SELECT a FROM t", "SELECT load_extension('x')", 0.0),
        ("SELECT a FROM t", "SELECT a FROM t; DROP TABLE t", 0.0),
        (
            "SELECT a FROM t",
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
            0.0,
        ),
        ("SELECT a FROM t", "SELECT zeroblob(2000000000)", 0.0),
        ("SELECT nothing FROM t", "SELECT a FROM t", None),
    ],
)
def test_queries_are_right_by_what_they_give(gold: str, query: str, score: float | None):
    """Order counts only where gold asks for one; only reading is allowed; without end is wrong."""
    found = sql("query", gold="gold", limits=SHORT)({"schema": SCHEMA, "gold": gold}, {"query": query})
    assert found.score == score, found.why
    assert (found.why == "") == (score == 1.0)


@SANDBOXED
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return o['b']", "KeyError"),
        ("while True: pass", "time"),
        ("return 'yes'", "neither"),
        ("return 2", "neither"),
        ("exit()", "failed"),
    ],
)
def test_a_predicate_that_fails_leaves_the_answer_unverified(body: str, why: str):
    """The fault is its own."""
    found = predicate(f"def check(i, o):\n    {body}", limits=SHORT)({}, {"a": 1})
    assert not found.verified
    assert why in found.why


@SANDBOXED
def test_a_predicate_may_give_partial_credit():
    """A number from 0 to 1."""
    assert predicate("def check(i, o):\n    return 0.5")({}, {}).score == 0.5


@pytest.mark.parametrize("source", ["", "def check(", "def other(i, o): return True", "check = 1"])
def test_a_predicate_without_check_is_refused(source: str):
    """Before any row is seen."""
    with pytest.raises(BadConfig, match="defines check"):
        predicate(source)


def test_without_a_sandbox_nothing_is_run_and_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch):
    """Every verifier that would run code is unverified, with the reason."""

    def none():
        raise EngineRefused("there is no sandbox")

    monkeypatch.setattr(module, "shared_sandbox", none)
    row = {"tests": ["assert 1"], "schema": SCHEMA, "query": "SELECT 1"}
    for verifier in (unit_tests("code"), sql("query"), predicate("def check(i, o): return True")):
        found = verifier(row, {"code": "x = 1", "query": "SELECT 1"})
        assert found.score is None
        assert found.why == "there is no sandbox"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("So:\n```python\nx = 1\n```\nand\n```python\ny = 2\n```", "x = 1\n"),
        ("```bash\npip\n```\n```\nx = 1\n```", "x = 1\n"),
        ("```text\nx\n```\n~~~py\nx = '```'\n~~~", "x = '```'\n"),
        ("```python\nimport a\n```\n```python\ndef f():\n    pass\n```", "def f():\n    pass\n"),
        ("```python\nx = 1\nand cut off", "x = 1\nand cut off"),
    ],
)
def test_code_is_taken_out_of_its_fence(text: str, code: str):
    """The block that defines the function, else the first in the language."""
    assert extract_code(text, defines="f") == code


def test_names_state_every_setting():
    """They enter fingerprints."""
    assert unit_tests("a", limits=SHORT).name == "unit_tests(a, tests=tests, seconds=0.8, cpu_seconds=0.8)"
    assert sql("q", gold="g").name == "sql(q, gold=g, schema=schema)"
    assert predicate("def check(i, o): return 1").name != predicate("def check(i, o): return 0").name


@settings(max_examples=80, deadline=None)
@given(text=some.text(max_size=80))
def test_reading_code_never_raises(text: str):
    """Whatever a model writes."""
    for verifier in (python_parses("code"), lints("code")):
        assert verifier({}, {"code": text}).score in (0.0, 1.0)


@pytest.mark.parametrize(
    "text", ["(" * 10_000, "-" * 90_000 + "1", "x" + ".a" * 40_000, "[" * 150 + "]" * 150, "x" * 200_000]
)
def test_code_nested_without_end_is_wrong_not_a_crash(text: str):
    """Python's own parser is at risk there."""
    assert python_parses("code")({}, {"code": text}).score in (0.0, 1.0)
    assert lints("code")({}, {"code": text}).score in (0.0, 1.0)
