"""Tests as models write them, taken apart."""

import pytest

from stillroom.programs.methods._written_tests import single_tests


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("assert f(1) == 1\nassert f(2) == 2", ["assert f(1) == 1", "assert f(2) == 2"]),
        ("Here they are:\n```python\nassert f(1) == 1\n```\nGood luck.", ["assert f(1) == 1"]),
        ("def test_f():\n    n = 1\n    assert f(n) == 1\n\ntest_f()", ["n = 1\nassert f(n) == 1"]),
        ("from solution import f\nimport math\nassert f(1) == math.e", ["import math\nassert f(1) == math.e"]),
        ("def f(n):\n    return n\n\nassert f(1) == 1", ["assert f(1) == 1"]),  # its own solution is not the one that is tested
        ("assert True\nassert f(1) == 1\nassert f(1) == 1", ["assert f(1) == 1"]),
        ("1. assert f(1) == 1\nassert f(2) == 2\nassert f([1, 2", ["assert f(2) == 2"]),
        ("import org.junit.Test;\npublic class FTest {}", []),
        ("", []),
    ],
)  # fmt: skip
def test_each_assert_that_calls_the_function_is_a_test(text, tests):
    assert single_tests(text, "f") == tests
