"""Whatever texts a run holds, its report shows them and nothing in them acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from stillroom.cli.report import write_report
from stillroom.cli.report_plots import funnel_plot, proof_plot
from stillroom.cli.report_text import shorten, spoken, visible, word_changes
from stillroom.ledger import Spent
from stillroom.store import Store

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror=alert(2)></style></title></svg>"\'><a href="javascript:x">&amp; $x$ $\\frac{1}{0}$ '
    "]]> --> {{ 7*7 }} {% raw %} \x00\x07\x1b[31m \u202egnp.exe\u202c \u2066\u200b\ufeff \U000e0041 e\u0301\u0301\u0301 שלום 漢字 👩‍🚀"
)


def hostile_run(folder: Path, text: str) -> Path:
    plan = world.plan_of(text, label=text, text=text)
    rows = [world.row_of(1, text=text, label=text), world.row_of(2, "near", text=text, label=text, why=text)]
    with Store(folder) as store:
        store.finish_call("a", text, text, "{}", "{}", Spent(1, 1, 1))
        store.put_note("trial", "0001", world.trial_of(plan, 0.6))
        store.put_note(
            "trial", "0002", {**world.trial_of(plan, 0.7), "params": {"demos": text}, "format": text, "state": text}
        )
        noted: Mapping[str, Any] = {"established": False, "best": 0.7, "baseline": 0.6, "trials": 2}
        store.put_note("compile", "latest", {**noted, "verdict": text, "ended": text})
        store.put_rows(text, rows)
        gates = [["schema", 2, 0], ["near", 2, 1], ["agreement", 1, 0]]
        store.put_note("funnel", text, {"gates": gates, "accepted": 1, "written": 2, "shortfall": {text: 3}})
        store.put_note("proof", "latest", {**world.proof_of(text, text), "metric": text, "task": text})
        miss = {"row": {text: text}, "got": {text: text}, "why": text}
        store.put_note("misses", "latest", {text: [miss]})
    plan.save(folder / "plan.json")
    replace(plan, instruction=f"{text} {text}", demos=()).save(folder / "baseline.json")
    return folder


@pytest.mark.parametrize(
    "text", [HOSTILE, HOSTILE * 400, "x" * 200_000, "\u202e" * 5000], ids=["once", "long", "unbroken", "bidi"]
)
def test_texts_of_models_and_data_are_shown_and_never_act(tmp_path: Path, text: str) -> None:
    """Markup, mathematics, control and direction characters come out as what they are: text, and cut where too long."""
    written = write_report(hostile_run(tmp_path, text)).read_text(encoding="utf-8")
    page = world.Page(written)
    world.check_inert(page, written)
    assert len(written.encode()) < 1_000_000
    if text.startswith(HOSTILE):
        assert "<script>alert(1)</script>" in page.text
        assert "$x$ $\\frac{1}{0}$" in page.text
        assert "{{ 7*7 }}" in page.text
        assert "␀␇␛[31m ⟨U+202E⟩gnp.exe⟨U+202C⟩" in page.text


def test_labels_inside_plots_are_text_without_mathematics() -> None:
    """A gate or a system named like a formula or a tag is drawn by its letters."""
    for plot in (
        funnel_plot(2, [("<b>$x_1$", 2, 1)], 1),
        proof_plot([{"name": "<b>$x_1$", "score": 0.5, "low": 0.4, "high": 0.6}], "<b>$x_1$"),
    ):
        for drawing in plot.values():
            page = world.Page(drawing)
            assert "<b>$x_1$" in page.text
            assert "b" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("one\r\ntwo\rthree", "one\ntwo␍three"),
        ("\ud800", "⟨U+D800⟩"),
        ("\uffff", "⟨U+FFFF⟩"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_what_cannot_be_seen_is_spelled(text: str, shown: str) -> None:
    """Controls and direction marks get a sign, letters and emoji stay."""
    assert visible(text) == shown


def test_changes_are_marked_word_by_word_unless_all_is_new() -> None:
    """Small changes show their words; another text is shown whole on either side."""
    assert word_changes("Name the intent.", "Name the one intent.") == [
        ("same", "Name the "),
        ("new", "one "),
        ("same", "intent."),
    ]
    assert word_changes("one two three", "four five six") == [("gone", "one two three"), ("new", "four five six")]
    assert word_changes("same", "same") == [("same", "same")]
    assert [kind for kind, _ in word_changes("a " * 2000, "a " * 1999)] == ["gone", "new"]


def test_values_are_spelled_for_people() -> None:
    """One field is its value, more are named, and long texts say what is missing."""
    assert spoken({"intent": "lost"}) == "lost"
    assert spoken({"people": 4, "seating": None}) == "people: 4\nseating: null"
    assert spoken([1, "é"]) == '[1, "é"]'
    assert shorten("abc", 3) == "abc"
    assert shorten("a" * 2000, 10) == "a" * 10 + " … (1,990 more characters)"
