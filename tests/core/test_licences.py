"""Licences: the strictest of the parents, what stops a release, and who answers for an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import BadConfig, LicenceForbids
from stillroom.licences import LICENCES, OWN_DATA, inherited, licence, of_teacher, strictest
from stillroom.release import Override, Purpose, blocks, export_allowed, ledger, refuse
from stillroom.rows import EmittedRow, Passport


def row(id: str = "r1", *, licence: str = "Apache-2.0", model: str = "local/m@1") -> EmittedRow:
    passport = Passport("recipe", "plan", model, licence, (), {}, {}, 1, 10)
    return EmittedRow(id, f"cell/{id}/0", "accepted", {"text": id}, passport)


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
        """QR-14: named by those parents that bind."""
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
        """QR-14: each rule, with the rows it is about."""
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
        """QR-14: for one licence by name, by somebody, for a reason."""
        rows = [row("a", licence="Odd"), row("b", licence="LicenseRef-llama2")]
        override = Override("Odd", by="R. Shah", why="written permission of 3 May")
        assert [block.licence for block in export_allowed(rows, Purpose(), overrides=[override])] == [
            "LicenseRef-llama2"
        ]
        for by, why in (("", "because"), ("me", " ")):
            with pytest.raises(BadConfig):
                Override("Odd", by=by, why=why)

    def test_the_ledger_lists_teachers_with_the_strictest_first(self):
        """QR-14: one line a teacher and licence, with the date of the text and how far it was compared."""
        lines = ledger(
            [row("a"), row("b"), row("c", model="http/x", licence="LicenseRef-llama2"), row("d", licence="")]
        )
        assert [(line.model, line.terms, line.rows) for line in lines] == [
            ("local/m@1", "unknown", 1),
            ("http/x", "same-family-only", 1),
            ("local/m@1", "train-allowed", 2),
        ]
        assert [(line.read, line.checked) for line in lines] == [("", "no"), ("2023-07-18", "quoted"), ("", "read")]

    def test_a_teacher_behind_a_service_is_under_its_terms(self):
        """Unless another licence was declared."""
        assert of_teacher("anthropic/claude") == "LicenseRef-anthropic-terms"
        assert of_teacher("http/my-box") == "unknown"
        assert of_teacher("https/api.openai.com/gpt-x@live") == "LicenseRef-openai-terms"
        assert of_teacher("https/api.openai.com:443/gpt-x@live") == "LicenseRef-openai-terms"
        assert of_teacher("openai/x", "MIT") == "MIT"

    def test_no_parents_have_no_licence(self):
        """Refused rather than guessed."""
        with pytest.raises(BadConfig):
            strictest([])

    @pytest.mark.parametrize(
        ("model", "declared", "sources", "wanted"),
        [
            ("local/m@1", "Apache-2.0", [""], "Apache-2.0"),
            ("local/m@1", "Apache-2.0", ["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0 AND CC-BY-SA-4.0"),
            ("openai/x@live", "unknown", ["MIT"], "LicenseRef-openai-terms AND MIT"),
            ("local/mine@1", "unknown", [""], "unknown"),
            ("scripted/x@1", OWN_DATA, [], OWN_DATA),
        ],
    )
    def test_rows_inherit_the_strictest_of_teacher_and_sources(self, model, declared, sources, wanted):
        """QR-14: what nobody declared of the data is the user's own; of a model it is unknown."""
        assert inherited(model, declared, sources) == wanted

    def test_a_refusal_names_rule_licence_and_mend(self):
        """QR-14: and an override for that licence lifts it."""
        found = blocks({"unknown": ["r1"], "MIT": ["r2"]}, Purpose())
        with pytest.raises(LicenceForbids, match=r"rows may be saved only where .* got unknown \(the terms of unknown"):
            refuse(found, "rows may be saved")
        with pytest.raises(LicenceForbids) as caught:
            refuse(found, "rows may be saved")
        assert "'unknown' with an override" in caught.value.mend
        refuse(blocks({"unknown": ["r1"]}, Purpose(), overrides=[Override.parse("unknown: me: asked")]), "rows may go")

    @pytest.mark.parametrize("text", ["", "unknown", "unknown: me", "unknown:: why", ": me: why"])
    def test_an_override_of_the_command_line_is_whole(self, text):
        """Licence, person and reason."""
        with pytest.raises(BadConfig, match="LICENCE: WHO: WHY"):
            Override.parse(text)

    def test_a_reason_may_hold_colons(self):
        """Only the first two part."""
        assert Override.parse("unknown: me: see: page 3", "2026-01-02") == Override(
            "unknown", "me", "see: page 3", "2026-01-02"
        )

    def test_every_name_is_spdx_or_a_reference(self):
        """A typo in the table would make a licence unknown to other tools."""
        licenses = pytest.importorskip("packaging.licenses")
        for name in LICENCES:
            assert name.startswith("LicenseRef-") or licenses.canonicalize_license_expression(name) == name

    def test_what_was_not_compared_says_so(self):
        """Of several names the least sure one counts."""
        assert licence("MIT").checked == "read"
        assert licence("ODbL-1.0").checked == "no"
        assert licence("LicenseRef-gemma").checked == "quoted"
        assert strictest([licence("LicenseRef-llama3"), licence("CC-BY-NC-4.0")]).checked == "no"
