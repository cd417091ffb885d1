"""Human involvement: a truth table over what the verdicts of passports say of who decided."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stillroom.errors import BadConfig
from stillroom.involvement import Evidence, evidence, involvement, level
from stillroom.rows import EmittedRow, Passport

PASSED = {"gate": "schema", "by": "form", "passed": True, "why": ""}
JUDGED = {"gate": "agreement", "by": "judge", "passed": True, "why": ""}


def row(id: str = "r1", *, model: str = "local/m@1", verdicts=(PASSED,)) -> EmittedRow:
    passport = Passport("recipe", "plan", model, "MIT", (), {}, {}, 1, 10, tuple(verdicts))
    return EmittedRow(id, f"cell/{id}/0", "accepted", {"text": id}, passport)


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
        """QR-16: all 24 cases."""
        assert len(self.TABLE) == 24
        for case, wanted in self.TABLE.items():
            assert level(Evidence(*case)) == wanted, case

    def test_evidence_is_read_from_the_passport(self):
        """QR-16: form is no rating, nor is a verdict that names nobody; a person who failed a row did not verify it."""
        judged, mute = JUDGED, {"gate": "agreement", "passed": True, "why": ""}
        person = {"gate": "review", "by": "person", "passed": True, "why": ""}
        failed = person | {"passed": False}
        cases = [
            ((PASSED,), 6), ((PASSED, judged), 5), ((PASSED, judged, person), 3), ((person, failed, judged), 5), ((), 6), ((mute,), 6),
            (({"gate": "exact(name)", "by": "verifier", "passed": True},), 5), (({"gate": "boilerplate(all)", "by": "form"},), 6),
        ]  # fmt: skip
        for verdicts, wanted in cases:
            assert involvement(row(verdicts=verdicts).passport).level == wanted, verdicts
        assert involvement(row(verdicts=(judged,)).passport, evaluated=True).level == 4
        certified = involvement(row(verdicts=(JUDGED | {"certificate": "ab12"},)).passport)
        assert certified.level == 4
        assert "evaluated on human labels" in certified.statement
        assert evidence(row(model="human").passport).writer == "person"
        assert evidence(replace(row().passport, decoding={"role": "polish"})).writer == "polished"

    def test_a_set_is_as_human_as_its_least_human_row_and_says_so(self):
        """QR-16: levels 5 and 6 say that no human label was used, and claim no more than that."""
        person = {"gate": "review", "by": "person", "passed": True}
        both = [row("a", verdicts=(person,)), row("b", verdicts=(PASSED,))]
        assert involvement(both[:1]).level == 3
        assert "No human label" not in involvement(both[:1]).statement
        found = involvement(both)
        assert found.level == 6
        assert "No human label" in found.statement
        assert "1 at level 3, 1 at level 6" in found.statement
        assert "to evaluate" in involvement([row()]).statement
        assert "as far as is declared" in involvement([row()], evaluated=None).statement
        assert "to evaluate" not in involvement([row()], evaluated=True).statement
        with pytest.raises(BadConfig):
            involvement([])

    def test_a_person_decides_what_waits_for_one(self):
        """QR-16: a decision counts as a person's, with the name, and moves the row; nobody brings back a copy."""
        stopped = JUDGED | {"passed": False, "why": "read as other"}
        waiting = replace(row(verdicts=(PASSED, stopped)), status="audit", gate="agreement", why="read as other")
        kept = waiting.reviewed(True, who="R. Shah", why="the label is right")
        assert (kept.status, kept.gate, kept.why) == ("accepted", "", "")
        assert kept.passport.verdicts[-1]["who"] == "R. Shah"
        assert involvement([kept]).level == 3
        assert EmittedRow.from_json(kept.as_json()) == kept
        out = waiting.reviewed(False, who="R. Shah")
        assert (out.status, out.gate, out.why) == ("rejected", "review", "a person rejected it")
        with pytest.raises(BadConfig, match="got one that review rejected"):
            out.reviewed(True, who="R. Shah")
        with pytest.raises(BadConfig, match="who looked"):
            waiting.reviewed(True, who=" ")
