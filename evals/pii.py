"""Personal data in texts: found by patterns with checksums, masked, or kept from leaving.

Offline and without a model: phone numbers by Google's `phonenumbers`, account
numbers and national identity numbers by the checksums in `stdnum`, the rest by
patterns here. Names, addresses and dates of birth are not found: they need a
model, and a reader who must be rid of them needs one too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

from stillroom.errors import BadConfig
from stillroom.rows import Status

from .filters.texts import TextGate
from .verdict import Verdict

__all__ = ["KINDS", "Span", "find_pii", "private", "redact"]


@dataclass(frozen=True)
class Span:
    """Characters `start` up to `end` of a text that are personal data of a `kind`."""

    start: int
    end: int
    kind: str


_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])")
# names set aside for examples by RFC 2606
_EXAMPLE = re.compile(r"(?:^|[.@])(?:example\.(?:com|org|net)|[\w-]+\.(?:example|test|invalid|localhost))$", re.I)
_CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:[^\s/@]{1,200}@[^\s/]+", re.I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b", re.I)
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w]|[.,]\d)")
_IP4 = re.compile(r"(?<![\w.])(?<!ersion )(?<!elease )(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.I)
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z ]{1,20} )?PRIVATE KEY-----|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b"
    r"|\bgithub_pat_\w{40,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}\b|\bhf_[A-Za-z]{30,}\b"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{10,}"
    r"|(?i:\b(?:password|passwd|pwd|api[_-]?key|secret[_-]?key|access[_-]?token)\b\s{0,3}(?:is\s{1,3}|[:=]\s{0,3})[\"']?)"
    r"(?=\S{0,40}\d)[^\s\"',;]{6,100}"
)
_PHONE_SHAPE = re.compile(r"\d(?:\D{0,4}\d){6}")
_PHONE_NEAR = re.compile(
    r"\b(?:phone|tel(?:ephone)?|mobile|cell|call(?:ed|ing)?|txt|text(?:ed|ing)?|sms|fax|whatsapp|ring|contact|dial|reach|number is)\b",
    re.I,
)
_NEAR = 40  # characters before a number in which its name is looked for


@dataclass(frozen=True)
class _Id:
    """A national number: how it looks, what checks it, and the words that must stand near where digits alone would do."""

    kind: str
    shape: re.Pattern[str]
    module: str
    near: re.Pattern[str] | None = None


def _id(kind: str, shape: str, module: str, near: str = "") -> _Id:
    return _Id(
        kind,
        re.compile(rf"(?<![\w.-]){shape}(?![\w-]|[.,]\d)", re.I),
        f"stdnum.{module}",
        re.compile(near, re.I) if near else None,
    )


# where the check lets over one in a hundred random numbers pass, a word must stand before it
_IDS = (
    _id("us_ssn", r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    _id("us_ssn", r"\d{3} ?\d{2} ?\d{4}", "us.ssn", r"\bssn\b|social security"),
    _id("us_itin", r"9\d{2}-\d{2}-\d{4}", "us.itin"),
    _id("gb_nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", "gb.nhs", r"\bnhs\b"),
    _id("de_idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr", r"steuer|\btax id\b|\bidnr\b|\btin\b"),
    _id("fr_nir", r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    _id("es_dni", r"\d{8}-?[A-Z]", "es.dni"),
    _id("es_nie", r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    _id("it_codice_fiscale", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    _id("nl_bsn", r"\d{9}|\d{4}\.\d{2}\.\d{3}", "nl.bsn", r"\bbsn\b|burgerservice|sofi"),
    _id("pl_pesel", r"\d{11}", "pl.pesel", r"\bpesel\b"),
    _id("se_personnummer", r"(?:\d{2})?\d{6}[-+]\d{4}", "se.personnummer"),
    _id("fi_hetu", r"\d{6}[-+A]\d{3}[0-9A-Y]", "fi.hetu"),
    _id("ca_sin", r"\d{3}[ -]\d{3}[ -]\d{3}", "ca.sin", r"\bsin\b|social insurance"),
    _id("au_tfn", r"\d{3} ?\d{3} ?\d{3}", "au.tfn", r"\btfn\b|tax file"),
    _id("br_cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    _id("in_aadhaar", r"\d{4} ?\d{4} ?\d{4}", "in_.aadhaar", r"aadhaar|\buidai\b"),
)
_GB_NINO = re.compile(r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b")


def find_pii(
    text: str, *, kinds: Sequence[str] | None = None, regions: Sequence[str] = ("US", "GB")
) -> tuple[Span, ...]:
    """Find personal data in `text`: spans that do not overlap, in order.

    Of overlapping finds the longer stays; of equals, the first kind in `KINDS`.
    Addresses for examples (example.com) and private networks are nobody's and not found.

    Args:
        text: Any text.
        kinds: Which of `KINDS` to look for; all where not given.
        regions: Countries whose phone numbers may come without a country code; two letters each.

    Raises:
        BadConfig: If a kind or region does not exist.

    >>> text = "Write to ana@firm.co or +44 20 7946 0958."
    >>> [(span.kind, text[span.start : span.end]) for span in find_pii(text)]
    [('email', 'ana@firm.co'), ('phone', '+44 20 7946 0958')]
    """
    _check(kinds, regions)
    wanted = KINDS if kinds is None else tuple(kinds)
    found = [
        Span(start, end, kind)
        for kind in KINDS
        if kind in wanted
        for start, end in (_phones(text, regions) if kind == "phone" else _FINDERS[kind](text))
    ]
    order = {kind: place for place, kind in enumerate(KINDS)}
    kept: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start - span.end, order[span.kind], span.start)):
        if all(span.end <= other.start or span.start >= other.end for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda span: span.start))


def redact(text: str, spans: Sequence[Span] | None = None, *, mask: str = "[{kind}]") -> str:
    """Put `mask` in the place of every span, those of `find_pii` where none are given.

    Raises:
        BadConfig: If spans overlap or lie outside the text.

    >>> redact("Mail ana@firm.co")
    'Mail [email]'
    """
    ordered = sorted(find_pii(text) if spans is None else spans, key=lambda span: span.start)
    parts, at = [], 0
    for span in ordered:
        if not at <= span.start < span.end <= len(text):
            raise BadConfig(f"spans must be inside the text and apart, got {span.start}..{span.end} after {at}")
        parts += [text[at : span.start], mask.replace("{kind}", span.kind)]
        at = span.end
    return "".join([*parts, text[at:]])


def private(
    *fields: str,
    kinds: Sequence[str] | None = None,
    regions: Sequence[str] = ("US", "GB"),
    on_fail: Status = "audit",
) -> TextGate:
    """Fail texts with personal data in them; a person decides, or `on_fail="rejected"`.

    The reason names kinds and places, never the data.
    """
    _check(kinds, regions)
    label = "all" if kinds is None else ", ".join(kinds)

    def test(text: str) -> Verdict:
        found = find_pii(text, kinds=kinds, regions=regions)
        return Verdict.fail("; ".join(f"{each.kind} at {each.start}" for each in found)) if found else Verdict.ok()

    return TextGate(f"private({label}; {','.join(regions)})", test, tuple(fields), on_fail)


def _check(kinds: Sequence[str] | None, regions: Sequence[str]) -> None:
    import phonenumbers

    if isinstance(kinds, str) or (kinds is not None and (not kinds or not set(kinds) <= set(KINDS))):
        raise BadConfig(f"kinds are out of {', '.join(KINDS)}; got {kinds!r}")
    if isinstance(regions, str) or not set(regions) <= phonenumbers.SUPPORTED_REGIONS:
        raise BadConfig(f"regions are two-letter countries with phone numbers, got {regions!r}")


_Found = Iterator[tuple[int, int]]


def _plain(pattern: re.Pattern[str], accept: Callable[[str], bool] = bool) -> Callable[[str], _Found]:
    def find(text: str) -> _Found:
        return (match.span() for match in pattern.finditer(text) if accept(match.group()))

    return find


def _phones(text: str, regions: Sequence[str]) -> _Found:
    import phonenumbers

    if not _PHONE_SHAPE.search(text):
        return
    seen: set[tuple[int, int]] = set()
    for region in regions or (None,):
        for match in phonenumbers.PhoneNumberMatcher(text, region):
            start, end = match.start, match.end
            # nine digits in a row and more may be an order or an account: they open with a plus or a
            # trunk zero, or somebody called them a phone number
            bare = not match.raw_string.startswith(("+", "0")) and re.search(r"\d{9}", match.raw_string)
            if bare and not _PHONE_NEAR.search(text[max(0, start - _NEAR) : start]):
                continue
            if (start, end) not in seen:
                seen.add((start, end))
                yield start, end


def _ibans(text: str) -> _Found:
    from stdnum import iban

    for match in _IBAN.finditer(text):
        whole = match.group()
        for size in range(len(whole), 14, -1):  # a word after the number looks like more of it
            ends = whole[size - 1] not in " -" and (size == len(whole) or whole[size] in " -")
            # the checksum, and the length and shape of the country's numbers
            if ends and iban.is_valid(whole[:size], check_country=False):
                yield match.start(), match.start() + size
                break


def _is_card(number: str) -> bool:
    from stdnum import luhn

    digits = re.sub(r"\D", "", number)
    known = re.match(r"4|5[1-5]|2[2-7]|3[47]|3(?:0|6|8|9)|6(?:011|4|5)|35|62", digits)
    return bool(known) and len(set(digits)) > 1 and luhn.is_valid(digits)


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _is_secret(text: str) -> bool:
    # a mask in the place of a password is none
    return not re.search(r"[:=\s][\"']?(?:\*+|x{4,}|<.*|\[.*|\$\{.*)$", text, re.I)


def _ids_of(kind: str) -> Callable[[str], _Found]:
    rules = [rule for rule in _IDS if rule.kind == kind]

    def find(text: str) -> _Found:
        for rule in rules:
            for match in rule.shape.finditer(text):
                before = text[max(0, match.start() - _NEAR) : match.start()]
                if (rule.near is None or rule.near.search(before)) and import_module(rule.module).is_valid(
                    match.group()
                ):
                    yield match.span()

    return find


_FINDERS: dict[str, Callable[[str], _Found]] = {
    "credentials": _plain(_CREDENTIALS),
    "secret": _plain(_SECRET, _is_secret),
    "email": _plain(_EMAIL, lambda found: not _EXAMPLE.search(found)),
    "iban": _ibans,
    "card": _plain(_CARD, _is_card),
    **{kind: _ids_of(kind) for kind in dict.fromkeys(rule.kind for rule in _IDS)},
    "gb_nino": _plain(_GB_NINO),
    "ip": lambda text: (span for find in (_plain(_IP4, _is_public), _plain(_IP6, _is_public)) for span in find(text)),
}

KINDS = (*_FINDERS, "phone")
