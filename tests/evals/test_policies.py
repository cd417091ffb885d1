"""Policies: rules over whole sets of rows, each a verdict with its reason."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import BadConfig
from stillroom.evals.diversity import coverage, describe
from stillroom.evals.policies import (
    accounted,
    audit,
    audit_sample,
    balanced,
    best_teacher,
    canary,
    diverse,
    fit_for_text,
    longest_overlap,
    no_long_quotes,
    one_version,
    verified,
)
from stillroom.evals.stats import wilson
from stillroom.rows import EmittedRow, Passport

PASSED = {"gate": "schema", "by": "form", "passed": True, "why": ""}


def row(
    id: str = "r1",
    *,
    licence: str = "Apache-2.0",
    model: str = "local/m@1",
    status="accepted",
    verdicts=(PASSED,),
    **more,
) -> EmittedRow:
    passport = Passport("recipe", "plan", model, licence, (), {}, {}, 1, 10, tuple(verdicts))
    return EmittedRow(id, f"cell/{id}/0", status, {"text": id}, passport, **more)


class Letters:
    """Embeds a text as the letters in it."""

    def embed(self, texts):
        vectors = np.asarray([[1e-3 + text.count(chr(97 + i)) for i in range(26)] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class TestRulesOverSets:
    """The other rules of release."""

    def test_qr1_a_better_teacher_is_named(self):
        """QR-1: two teachers, both in the reason; one that was not measured is unverified."""
        assert best_teacher("big", {"big": 0.8, "small": 0.7}).passed
        assert best_teacher("small", {"big": 0.8, "small": 0.7}).why == "small scores 0.700, big scores 0.800"
        assert not best_teacher("new", {"big": 0.8}).verified

    def test_qr2_canary(self):
        """QR-2: a mean that moves by over a quarter point fails; under 20 rows nothing is said."""
        scores = [3.0, 4.0] * 10
        assert canary(scores, [each + 0.25 for each in scores]).passed
        assert canary(scores, [each + 0.3 for each in scores]).why == "the judge's mean moved by +0.30"
        assert not canary(scores[:19], scores[:19]).verified

    def test_qr3_a_pool_of_copies_fails_and_the_seeds_pass(self):
        """QR-3: 100 copies against 100 seeds; a waiver passes and is kept; few texts say nothing."""
        rng = random.Random(0)
        seeds = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(100)]
        copies = describe(seeds[:1] * 100, seeds, embedder=Letters())
        assert diverse(copies).score == 0
        waived = diverse(copies, waived="a stress test")
        assert waived.passed
        assert "a stress test" in waived.why
        assert diverse(describe(seeds, seeds, embedder=Letters())).passed
        assert not diverse(describe(seeds, seeds)).verified
        assert "needs 20 texts, got 19" in diverse(describe(seeds[:19], seeds, embedder=Letters())).why

    def test_qr4_balance(self):
        """QR-4: every class within a row of its quota."""
        rows = [{"label": label} for label in "aaabb"]
        assert balanced(coverage(rows, {"label": ["a", "b"]})).passed
        assert "('c',): 0 of 1.66" in balanced(coverage(rows, {"label": ["a", "b", "c"]})).why

    def test_qr5_no_row_leaves_without_its_verdicts_and_none_is_overruled(self):
        """QR-5: a missing verdict and a failed one that was accepted all the same."""
        assert verified([row()], ["schema"]).passed
        assert "no verdict of exact" in verified([row()], ["schema", "exact"]).why
        overruled = row(verdicts=(PASSED, {"gate": "exact", "passed": False}, {"gate": "judge", "passed": True}))
        assert "accepted though exact did not pass" in verified([overruled], []).why
        assert not verified([row(verdicts=(PASSED, {"gate": "exact", "passed": None}))], []).passed

    def test_qr5_a_person_overrules_a_judge_and_nothing_else(self):
        """QR-5: a copy stays a copy whoever likes it, and a person must come after the judge."""
        judge = {"gate": "agreement", "by": "judge", "passed": False}
        form = {"gate": "decontaminated", "by": "form", "passed": False}
        person = {"gate": "review", "by": "person", "passed": True}
        assert verified([row(verdicts=(PASSED, judge, person))], []).passed
        for verdicts in ((judge, person | {"passed": False}), (form, person), (person, judge), (judge,)):
            assert not verified([row(verdicts=verdicts)], []).passed

    def test_qr2_an_endpoint_that_changes_under_the_run_is_told(self):
        """QR-2: by model, with the rows of each version; rows whose endpoint says nothing are left out."""

        def served(id, version, model="http/box/m@live"):
            one = row(id, model=model)
            return replace(one, passport=replace(one.passport, decoding={"served": version} if version else {}))

        steady = [served("a", "m fp_1"), served("b", "m fp_1"), served("c", ""), served("d", "n", "http/box/n@live")]
        assert one_version(steady).passed
        moved = one_version([*steady, served("e", "m fp_2")])
        assert moved.why == "http/box/m@live changed under the run: m fp_1 wrote 2 rows, m fp_2 wrote 1 rows"

    def test_qr6_everything_written_is_accounted_for(self):
        """QR-6: accepted, rejected by name, or waiting for a person; nothing else and nothing twice."""
        rejected = row("b", status="rejected", gate="near", why="copy")
        waiting = row("c", status="audit", gate="agreement", why="says otherwise")
        assert accounted(3, [row("a"), rejected, waiting]).passed
        assert "4 were written, 3 are accounted for" in accounted(4, [row("a"), rejected, waiting]).why
        assert "without gate" in accounted(1, [replace(rejected, why="")]).why
        assert "stands twice" in accounted(2, [row("a"), row("a")]).why

    def test_qr15_long_quotes_fail(self):
        """QR-15: fifty words in a row may stand, fifty-one not."""
        source = " ".join(f"w{i}" for i in range(80))
        words = source.split()
        assert longest_overlap(f"so {' '.join(words[3:20])} yes", ["other", source]) == (17, 1)
        assert longest_overlap("nothing", []) == (0, -1)
        assert no_long_quotes(" ".join(words[:50]) + " end", [source]).passed
        assert "51 words" in no_long_quotes(" ".join(words[:51]) + " end", [source]).why

    @given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
    def test_the_longest_run_is_the_longest_run(self, left, right):
        """Against trying every one."""
        naive = max(
            (
                n
                for n in range(len(left) + 1)
                for i in range(len(left) - n + 1)
                for j in range(len(right) - n + 1)
                if left[i : i + n] == right[j : j + n]
            ),
            default=0,
        )
        assert longest_overlap(" ".join(left), [" ".join(right)])[0] == naive

    def test_qr13_a_sample_is_stratified_repeatable_and_without_repeats(self):
        """QR-13: in proportion to within a row, whatever order the rows came in."""
        rows = [row(f"r{i}") for i in range(100)]
        strata = ["big" if i < 75 else "small" for i in range(100)]
        drawn = audit_sample([*rows, rows[0]], [*strata, "big"], size=20, seed=3)
        assert len({each.id for each in drawn}) == len(drawn) == 20
        assert sum(int(each.id[1:]) >= 75 for each in drawn) == 5
        order = random.Random(1).sample(range(100), 100)
        again = audit_sample([rows[i] for i in order], [strata[i] for i in order], size=20, seed=3)
        assert {each.id for each in again} == {each.id for each in drawn}
        assert len(audit_sample(rows, strata, size=500)) == 100

    def test_qr13_intervals_are_wilsons_and_silence_says_unaudited(self):
        """54 % of 200 is 47 to 61 %."""
        fields = {"instruction valid": True, "input matches": True, "output correct": True}
        labels = [{**fields, "all valid": i < 108, "error": "" if i < 108 else "wrong output"} for i in range(200)]
        found = audit(labels)
        assert found.shares["all valid"] == wilson(108, 200)
        assert "all valid 54% [47%, 61%]" in found.statement
        assert found.errors == {"wrong output": 92}
        assert audit([]).statement.startswith("Unaudited")
        with pytest.raises(BadConfig):
            audit([{"all valid": 1}])

    def test_qr20_rows_under_ninety_per_cent_are_not_for_pretraining(self):
        """QR-20: unverified without an audit."""
        label = dict.fromkeys(("instruction valid", "input matches", "output correct", "all valid"), True)
        assert fit_for_text(audit([label] * 10)).passed
        assert not fit_for_text(audit([label] * 8 + [label | {"all valid": False}] * 2)).passed
        assert not fit_for_text(audit([])).verified
