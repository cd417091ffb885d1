"""Where the rows come from and who checked them, as reports tell it: in lines, and as tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["origin_lines", "origin_page"]

CHECKED = {
    "read": "compared with its text",
    "quoted": "known from quotations",
    "no": "not compared with its text",
}
"""How far our reading of a licence was checked, in words."""


def origin_lines(origin: Mapping[str, Any] | None) -> list[str]:
    """The provenance of an emission, `Provenance.as_json`, in a few lines for people."""
    if origin is None:
        return ["  where the rows come from: not known before the emission ends"]
    removed, reported = _shares(origin["copies"], True), _shares(origin["copies"], False)
    return [
        f"  licence of the rows: {origin['licence']} ({'; '.join(map(_parent, origin['sources']))})",
        *(f"  override: {each['licence']} by {each['by']}: {each['why']}" for each in origin["overrides"]),
        f"  people: {_people(origin)}",
        f"  copies removed: {removed}; reported and kept: {reported}",
        *(f"  doubtful gate: {_doubt(each)}" for each in origin["doubtful"]),
        f"  policies: {'; '.join(map(_policy, origin['policies']))}",
    ]


def origin_page(origin: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The same as what the page's section shows."""
    if origin is None:
        return None
    return {
        **origin,
        "people": _people(origin),
        "ledger": [{**each, "checked": CHECKED.get(each["checked"], each["checked"])} for each in origin["ledger"]],
        "copies": sorted(origin["copies"], key=lambda each: not each["removed"]),
        "diversity": _diversity(origin.get("diversity")),
    }


def _diversity(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of emitted and labelled rows as table rows, and what a reader must know of them."""
    if not found:
        return None
    here, there = (found["columns"].get(name, {}) for name in ("texts", "reference"))
    return {"rows": [(name, value, there.get(name)) for name, value in here.items()], "notes": found["notes"]}


def _people(origin: Mapping[str, Any]) -> str:
    found = origin["involvement"]
    return "no row was accepted, so there is nothing to tell." if found is None else str(found["statement"])


def _parent(source: Mapping[str, Any]) -> str:
    declared = "" if source["declared"] else ", which nobody declared"
    return f"{source['what']} {source['name']}: {source['licence']}{declared}"


def _shares(copies: Sequence[Mapping[str, Any]], removed: bool) -> str:
    some = [each for each in copies if each["removed"] == removed]
    if not some:
        return "none"
    shares = ", ".join(f"{each['rows']} {each['rule']} of {each['source']}" for each in some)
    return f"{sum(each['rows'] for each in some)} ({shares})"


def _doubt(each: Mapping[str, Any]) -> str:
    waiting = f"; {each['waiting']} rows wait for a person" if each["waiting"] else ""
    return f"{each['gate']}: {each['why']}{waiting}"


def _policy(each: Mapping[str, Any]) -> str:
    return f"{each['name']} {each['state']}" + (f" ({each['why']})" if each["why"] else "")
