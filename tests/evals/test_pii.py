"""Personal data: what is found, what is not taken for it, and that masking leaves none."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import BadConfig
from stillroom.evals.gates import Candidate
from stillroom.evals.pii import KINDS, Span, find_pii, private, redact

DATA = Path(__file__).parents[3] / "shared" / "data"

# numbers of published examples, or made to satisfy a checksum; nobody's
FOUND = [
    ("email", "Mail ana.lopez+bank@mail.firm.co now", "ana.lopez+bank@mail.firm.co"),
    ("phone", "Ring +44 20 7946 0958 please", "+44 20 7946 0958"),
    ("phone", "Ring (415) 555-2671 please", "(415) 555-2671"),
    ("phone", "Text 07911123456 to win", "07911123456"),
    ("iban", "IBAN GB82 WEST 1234 5698 7654 32 is mine", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "pay de89370400440532013000", "de89370400440532013000"),
    ("card", "card 4111 1111 1111 1111 was stolen", "4111 1111 1111 1111"),
    ("card", "amex 378282246310005", "378282246310005"),
    ("ip", "from 8.8.4.4 at noon", "8.8.4.4"),
    ("ip", "host 2001:4860:4860::8888", "2001:4860:4860::8888"),
    ("credentials", "use https://bob:hunter2@db.firm.co/x", "https://bob:hunter2@db.firm.co"),
    ("secret", "key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
    ("secret", "password: s3cretWord9", "password: s3cretWord9"),
    ("us_ssn", "SSN 536-90-4399", "536-90-4399"),
    ("us_ssn", "my social security number is 536904399", "536904399"),
    ("gb_nino", "NI number AB 12 34 56 C", "AB 12 34 56 C"),
    ("gb_nhs", "NHS number 943 476 5870", "943 476 5870"),
    ("de_idnr", "Steuer-ID 36 574 261 809", "36 574 261 809"),
    ("fr_nir", "2 95 10 99 126 111 93", "2 95 10 99 126 111 93"),
    ("es_dni", "DNI 54362315K", "54362315K"),
    ("it_codice_fiscale", "CF RCCMNL83S18D969H", "RCCMNL83S18D969H"),
    ("nl_bsn", "BSN 111222333", "111222333"),
    ("br_cpf", "CPF 390.533.447-05", "390.533.447-05"),
    ("in_aadhaar", "Aadhaar 2341 2341 2346", "2341 2341 2346"),
]
NOT_FOUND = [
    "My card was stopped on 2024-01-31 at 10:45:12.",
    "Order 4111111111111112 shipped",  # fails the checksum
    "Account 1234567890, reference 987654321",
    "GB82 WEST 1234 5698 7654 33",  # fails the checksum
    "Call me at noon for 1,250,000.50 euros",
    "Version 1.2.3.4 is at 127.0.0.1 or 192.168.0.10",
    "Write to help@example.com",
    "SSN 000-12-3456",
    "The BSN is unknown: 123456789",
    "password: ********",
    "C++ :: operator, 12:30:45",
    "1234567890123456789012345678901234567890",
    "3.14159265358979",
]


class TestPrivateIsAVerifier(VerifierContract):
    """The laws of verifiers hold."""

    @pytest.fixture
    def verifier(self):
        return private().verifier()

    @pytest.fixture
    def right(self):
        return {}, {"text": "My card was stopped."}

    @pytest.fixture
    def wrong(self):
        return {}, {"text": "Mail ana@firm.co"}


@pytest.mark.parametrize(("kind", "text", "wanted"), FOUND)
def test_finds_kind_and_span(kind, text, wanted):
    """Exactly the data, with its kind."""
    assert [(span.kind, text[span.start : span.end]) for span in find_pii(text)] == [(kind, wanted)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_leaves_alone(text):
    """Wrong checksums, dates, amounts, private networks, example addresses."""
    assert find_pii(text) == ()


def test_every_kind_is_tried_or_named_by_a_test():
    """A kind that nobody tests may find nothing."""
    tried = {kind for kind, _, _ in FOUND}
    others = {"us_itin": "ITIN 912-90-3456", "es_nie": "NIE X5253868R", "pl_pesel": "PESEL 44051401359",
              "se_personnummer": "880320-0016", "fi_hetu": "131052-308T", "ca_sin": "SIN 123-456-782",
              "au_tfn": "TFN 123 456 782"}  # fmt: skip
    assert tried | set(others) == set(KINDS)
    for kind, text in others.items():
        assert [span.kind for span in find_pii(text)] == [kind], text


def test_numbers_and_nested_values_are_read():
    """A phone number may come as an int, in a list, in a mapping."""
    row = Candidate("p", {"a": [{"mail": "ana@firm.co"}], "n": 4111111111111111}, "", {})
    [verdict] = private().check([row])
    assert verdict.why == "a: email at 0; n: card at 0"


def test_the_reason_never_holds_the_data():
    """Reasons are stored with the row and printed on reports."""
    for _, text, wanted in FOUND:
        assert wanted not in private().verifier()({}, {"t": text}).why


def test_kinds_regions_and_status_are_settings():
    """In the name, checked at construction."""
    gate = private(kinds=["email"], on_fail="rejected")
    assert gate.on_fail == "rejected"
    assert private().on_fail == "audit"
    assert gate.verifier()({}, {"t": "Ring +44 20 7946 0958"}).passed
    assert gate.name != private().name
    assert find_pii("Ruf an: 030 901820 bitte", regions=["DE"])
    assert not find_pii("Ruf an: 030 901820 bitte", regions=[])
    for bad in ({"kinds": ["name"]}, {"kinds": []}, {"regions": ["ZZ"]}, {"regions": "US"}):
        with pytest.raises(BadConfig):
            private(**bad)


def test_masks_keep_the_rest():
    """Each span becomes its kind; overlapping spans are refused."""
    assert redact("a@firm.co and b@firm.co!") == "[email] and [email]!"
    assert redact("x a@firm.co", mask="***") == "x ***"
    assert redact("abcdef", [Span(3, 4, "z"), Span(0, 1, "y")]) == "[y]bc[z]ef"
    with pytest.raises(BadConfig):
        redact("abc", [Span(0, 2, "x"), Span(1, 3, "x")])


PIECES = st.sampled_from([text for _, text, _ in FOUND] + NOT_FOUND)


@given(st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=4))
@settings(max_examples=60, deadline=None)
def test_spans_are_apart_in_order_and_masking_them_leaves_none(parts):
    """Whatever the text; a masked text is clean."""
    text = " ; ".join(parts)
    spans = find_pii(text)
    assert all(first.end <= second.start for first, second in itertools.pairwise(spans))
    assert all(0 <= span.start < span.end <= len(text) and span.kind in KINDS for span in spans)
    assert find_pii(redact(text, spans)) == ()


def test_finds_little_in_questions_of_customers_and_much_in_spam():
    """None in 1,540 banking questions; phone numbers in spam messages that ask to be called."""
    texts = {}
    for name in ("banking77", "sms_spam"):
        path = DATA / name / "train.jsonl"
        if not path.is_file():
            pytest.skip("needs ../shared/data")
        texts[name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert not [row for row in texts["banking77"] if find_pii(row["text"])]
    hits = [row["label"] for row in texts["sms_spam"] if find_pii(row["text"])]
    assert hits.count("spam") > 20
    assert hits.count("ham") <= 3
