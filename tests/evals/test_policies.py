"""Policies: licences of parents, human involvement, version locks, and rules over whole sets of rows."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import BadConfig, FingerprintChanged
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
    verified,
)
from stillroom.evals.stats import wilson
from stillroom.licences import LICENCES, Override, Purpose, export_allowed, ledger, licence, of_teacher, strictest
from stillroom.policies import Evidence, Lock, drift, evidence, involvement, level, lock, refuse_drift, segments
from stillroom.rows import EmittedRow, Passport

PASSED = {"gate": "schema", "passed": True, "why": ""}


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


class TestLicences:
    """QR-14: the strictest of the parents, and what stops an export."""

    ONES = st.lists(st.sampled_from([*LICENCES.values(), licence("Sleepycat"), licence("Odd")]), min_size=1, max_size=5)

    @pytest.mark.parametrize(
        ("names", "wanted"),
        [
            (["Apache-2.0"], "Apache-2.0"),
            (["CC0-1.0", "MIT"], "MIT"),
            (["Apache-2.0", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
            (["CC-BY-NC-4.0", "CC-BY-SA-4.0"], "CC-BY-NC-4.0 AND CC-BY-SA-4.0"),
            (["Apache-2.0", "LicenseRef-openai-terms"], "Apache-2.0 AND LicenseRef-openai-terms"),
            (["apache 2.0", "llama3"], "LicenseRef-llama3"),
        ],
    )
    def test_a_mixture_takes_the_stricter(self, names, wanted):
        """Named by those parents that bind."""
        found = strictest(map(licence, names))
        assert found.name == wanted
        assert licence(found.name) == found

    @given(ONES, st.randoms())
    def test_joining_is_a_join(self, ones, rng):
        """Order, grouping and repetition do not matter, and no parent's condition is lost."""
        whole = strictest(ones)
        assert strictest(rng.sample(ones, len(ones)) + ones) == whole
        cut = rng.randint(1, len(ones))
        parts = [strictest(part) for part in (ones[:cut], ones[cut:]) if part]
        assert strictest(parts) == whole
        assert all(whole.covers(one) for one in ones)

    @pytest.mark.parametrize(
        ("name", "purpose", "rules"),
        [
            ("Apache-2.0", Purpose(student="qwen2", commercial=True, publish=True), []),
            ("LicenseRef-llama2", Purpose(student="qwen2"), ["family"]),
            ("LicenseRef-llama2", Purpose(), ["family"]),
            ("LicenseRef-llama2", Purpose(student="Llama"), []),
            ("LicenseRef-llama2", Purpose(train=False), []),
            ("LicenseRef-llama3.1", Purpose(student="qwen2"), []),
            ("LicenseRef-openai-terms", Purpose(student="gpt"), ["train"]),
            ("", Purpose(train=False), ["unknown"]),
            ("My-Own", Purpose(), ["unknown"]),
            ("CC-BY-NC-4.0", Purpose(commercial=True), ["commercial"]),
            ("CC-BY-ND-4.0", Purpose(publish=True), ["publish"]),
            ("CC-BY-SA-4.0 AND ODbL-1.0", Purpose(publish=True), ["alike"]),
            ("LicenseRef-llama2 AND Odd", Purpose(), ["unknown", "family"]),
        ],
    )
    def test_what_stops_an_export(self, name, purpose, rules):
        """Each rule, with the rows it is about."""
        blocks = export_allowed([row(licence=name)], purpose)
        assert [block.rule for block in blocks] == rules
        assert all(block.why and block.rows == ("r1",) for block in blocks)

    @given(ONES, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "llama", "qwen2"]))
    def test_a_mixture_is_never_allowed_more_than_its_parents(self, ones, train, commercial, publish, student):
        """Whatever stops a parent stops the mixture."""
        purpose = Purpose(train=train, student=student, commercial=commercial, publish=publish)
        stopped = {block.rule for one in ones for block in export_allowed([row(licence=one.name)], purpose)}
        whole = {block.rule for block in export_allowed([row(licence=strictest(ones).name)], purpose)}
        assert stopped <= whole

    def test_only_the_rows_under_the_licence_are_named(self):
        """The others can be exported without them."""
        blocks = export_allowed([row("a"), row("b", licence="LicenseRef-llama2"), row("c")], Purpose(student="qwen2"))
        assert [block.rows for block in blocks] == [("b",)]

    def test_an_override_is_explicit_and_recorded(self):
        """For one licence by name, by somebody, for a reason."""
        rows = [row("a", licence="Odd"), row("b", licence="LicenseRef-llama2")]
        override = Override("Odd", by="R. Shah", why="written permission of 3 May")
        assert [block.licence for block in export_allowed(rows, Purpose(), overrides=[override])] == [
            "LicenseRef-llama2"
        ]
        for by, why in (("", "because"), ("me", " ")):
            with pytest.raises(BadConfig):
                Override("Odd", by=by, why=why)

    def test_the_ledger_lists_teachers_with_the_strictest_first(self):
        """One line a teacher and licence, with the date of the text that was read."""
        lines = ledger(
            [row("a"), row("b"), row("c", model="http/x", licence="LicenseRef-llama2"), row("d", licence="")]
        )
        assert [(line.model, line.terms, line.rows) for line in lines] == [
            ("local/m@1", "unknown", 1),
            ("http/x", "same-family-only", 1),
            ("local/m@1", "train-allowed", 2),
        ]
        assert lines[1].read == "2023-07-18"

    def test_a_teacher_behind_a_service_is_under_its_terms(self):
        """Unless another licence was declared."""
        assert of_teacher("anthropic/claude") == "LicenseRef-anthropic-terms"
        assert of_teacher("http/my-box") == "unknown"
        assert of_teacher("openai/x", "MIT") == "MIT"

    def test_no_parents_have_no_licence(self):
        """Refused rather than guessed."""
        with pytest.raises(BadConfig):
            strictest([])


class TestInvolvement:
    """QR-16: computed from verdicts, as a truth table."""

    TABLE = {
        # writer, verified, rated, evaluated: level
        **{("person", *rest): 1 for rest in itertools.product((False, True), repeat=3)},
        **{("polished", True, *rest): 2 for rest in itertools.product((False, True), repeat=2)},
        **{("machine", True, *rest): 3 for rest in itertools.product((False, True), repeat=2)},
        **{(writer, False, True, True): 4 for writer in ("polished", "machine")},
        **{(writer, False, True, False): 5 for writer in ("polished", "machine")},
        **{(writer, False, False, evaluated): 6 for writer in ("polished", "machine") for evaluated in (False, True)},
    }

    def test_truth_table(self):
        """All 24 cases."""
        assert len(self.TABLE) == 24
        for case, wanted in self.TABLE.items():
            assert level(Evidence(*case)) == wanted, case

    def test_evidence_is_read_from_the_passport(self):
        """Form is no rating; a person who failed a row did not verify it."""
        judged = {"gate": "agreement", "passed": True, "why": ""}
        person = {"gate": "review", "by": "person", "passed": True, "why": ""}
        failed = person | {"passed": False}
        cases = [
            ((PASSED,), 6), ((PASSED, judged), 5), ((PASSED, judged, person), 3), ((person, failed, judged), 5), ((), 6),
            (({"gate": "exact(name)", "by": "verifier", "passed": True},), 5), (({"gate": "boilerplate(all)", "by": "form"},), 6),
        ]  # fmt: skip
        for verdicts, wanted in cases:
            assert involvement(row(verdicts=verdicts).passport).level == wanted, verdicts
        assert involvement(row(verdicts=(judged,)).passport, evaluated=True).level == 4
        assert evidence(row(model="human").passport).writer == "person"
        assert evidence(replace(row().passport, decoding={"role": "polish"})).writer == "polished"

    def test_a_set_is_as_human_as_its_least_human_row_and_says_so(self):
        """Levels 5 and 6 say that no human label was used."""
        person = {"gate": "review", "by": "person", "passed": True}
        both = [row("a", verdicts=(person,)), row("b", verdicts=(PASSED,))]
        assert involvement(both[:1]).level == 3
        assert "No human label" not in involvement(both[:1]).statement
        found = involvement(both)
        assert found.level == 6
        assert "No human label" in found.statement
        assert "1 at level 3, 1 at level 6" in found.statement
        with pytest.raises(BadConfig):
            involvement([])


class TestLocks:
    """QR-2: versions are pinned, and a change is found."""

    LOCK = lock(
        {"writer": "local/m@1"},
        prompts={"write": "ab"},
        gates=["schema", "near"],
        data={"search": "cd"},
        decoding={"writer": {"temperature": 1.0}},
        code="0.1",
    )

    def test_nothing_drifts_through_json(self):
        """The same after writing and reading."""
        again = Lock.from_json(self.LOCK.as_json())
        assert drift(self.LOCK, again) == []
        assert again.digest == self.LOCK.digest
        refuse_drift(self.LOCK, again)

    @pytest.mark.parametrize(
        ("change", "wanted"),
        [
            ({"models": {"writer": "local/m@2"}}, "model writer: local/m@1 -> local/m@2"),
            ({"models": {"writer": "local/m@1", "judge": "local/j@1"}}, "model judge: nothing -> local/j@1"),
            ({"prompts": {}}, "prompt write: ab -> nothing"),
            ({"gates": ("near", "schema")}, "gate 1: schema -> near"),
            ({"data": {"search": "ce"}}, "data search: cd -> ce"),
            ({"decoding": {"writer": {"temperature": 0.9}}}, "decoding writer.temperature: 1.0 -> 0.9"),
            ({"code": "0.2"}, "code version: 0.1 -> 0.2"),
        ],
    )
    def test_every_part_that_changes_is_named(self, change, wanted):
        """And a resume is refused with it."""
        new = replace(self.LOCK, **change)
        assert wanted in list(map(str, drift(self.LOCK, new)))
        assert new.digest != self.LOCK.digest
        with pytest.raises(FingerprintChanged, match="goes on with what it began"):
            refuse_drift(self.LOCK, new)

    @pytest.mark.parametrize("models", [{}, {"writer": ""}, {"writer": "http/m@latest"}, {"writer": "unknown"}])
    def test_a_lock_on_nothing_is_refused(self, models):
        """`latest` locks nothing."""
        with pytest.raises(BadConfig):
            lock(models)

    def test_an_endpoint_that_changes_mid_run_splits_the_run(self):
        """One stretch for each version, back to an old one included; no answer is lost."""
        assert segments(["", "a", "a", "", "b", "a"]) == [("a", 0, 4), ("b", 4, 5), ("a", 5, 6)]
        assert segments([]) == []

    @given(st.lists(st.sampled_from(["", "a", "b"]), max_size=20))
    def test_segments_cover_the_run_once(self, marks):
        """In order, without gaps, and each of one version."""
        found = segments(marks)
        assert [at for _, start, end in found for at in range(start, end)] == list(range(len(marks)))
        assert all({mark for mark in marks[start:end] if mark} <= {version} for version, start, end in found)


class Letters:
    """Embeds a text as the letters in it."""

    def embed(self, texts):
        vectors = np.asarray([[1e-3 + text.count(chr(97 + i)) for i in range(26)] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class TestRulesOverSets:
    """The other rules of release."""

    def test_qr1_a_better_teacher_is_named(self):
        """Two teachers, both in the reason; one that was not measured is unverified."""
        assert best_teacher("big", {"big": 0.8, "small": 0.7}).passed
        assert best_teacher("small", {"big": 0.8, "small": 0.7}).why == "small scores 0.700, big scores 0.800"
        assert not best_teacher("new", {"big": 0.8}).verified

    def test_qr2_canary(self):
        """A mean that moves by over a quarter point fails; under 20 rows nothing is said."""
        scores = [3.0, 4.0] * 10
        assert canary(scores, [each + 0.25 for each in scores]).passed
        assert canary(scores, [each + 0.3 for each in scores]).why == "the judge's mean moved by +0.30"
        assert not canary(scores[:19], scores[:19]).verified

    def test_qr3_a_pool_of_copies_fails_and_the_seeds_pass(self):
        """100 copies against 100 seeds; a waiver passes and is kept."""
        rng = random.Random(0)
        seeds = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(100)]
        copies = describe(seeds[:1] * 100, seeds, embedder=Letters())
        assert diverse(copies).score == 0
        waived = diverse(copies, waived="a stress test")
        assert waived.passed
        assert "a stress test" in waived.why
        assert diverse(describe(seeds, seeds, embedder=Letters())).passed
        assert not diverse(describe(seeds, seeds)).verified

    def test_qr4_balance(self):
        """Every class within a row of its quota."""
        rows = [{"label": label} for label in "aaabb"]
        assert balanced(coverage(rows, {"label": ["a", "b"]})).passed
        assert "('c',): 0 of 1.66" in balanced(coverage(rows, {"label": ["a", "b", "c"]})).why

    def test_qr5_no_row_leaves_without_its_verdicts_and_none_is_overruled(self):
        """A missing verdict and a failed one that was accepted all the same."""
        assert verified([row()], ["schema"]).passed
        assert "no verdict of exact" in verified([row()], ["schema", "exact"]).why
        overruled = row(verdicts=(PASSED, {"gate": "exact", "passed": False}, {"gate": "judge", "passed": True}))
        assert "accepted though exact did not pass" in verified([overruled], []).why
        assert not verified([row(verdicts=(PASSED, {"gate": "exact", "passed": None}))], []).passed

    def test_qr6_everything_written_is_accounted_for(self):
        """Accepted, rejected by name, or waiting for a person; nothing else and nothing twice."""
        rejected = row("b", status="rejected", gate="near", why="copy")
        waiting = row("c", status="audit", gate="agreement", why="says otherwise")
        assert accounted(3, [row("a"), rejected, waiting]).passed
        assert "4 were written, 3 are accounted for" in accounted(4, [row("a"), rejected, waiting]).why
        assert "without gate" in accounted(1, [replace(rejected, why="")]).why
        assert "stands twice" in accounted(2, [row("a"), row("a")]).why

    def test_qr15_long_quotes_fail(self):
        """Fifty words in a row may stand, fifty-one not."""
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
        """In proportion to within a row, whatever order the rows came in."""
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
        """Unverified without an audit."""
        label = dict.fromkeys(("instruction valid", "input matches", "output correct", "all valid"), True)
        assert fit_for_text(audit([label] * 10)).passed
        assert not fit_for_text(audit([label] * 8 + [label | {"all valid": False}] * 2)).passed
        assert not fit_for_text(audit([])).verified
