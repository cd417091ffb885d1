"""Runs as the phases leave them, and a reader of the report's page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from stillroom.ledger import Spent
from stillroom.programs import Decoding, Demo, Plan
from stillroom.rows import EmittedRow, Passport
from stillroom.signatures import Field, Shape
from stillroom.store import Store

MODEL = "local/tiny@0123456789ab"
GATES = ("schema", "near", "agreement")
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff\U000e0000-\U000e007f]")
VOID = {"meta"}


class Page(HTMLParser):
    """What a reader of the page gets: tags, attributes, text, tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._cell: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows: list[list[str]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption"):
            self._cell = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"
        if tag == "caption":
            self._caption, self._cell = self._cell or "", None
        elif tag in ("td", "th"):
            self._rows[-1].append((self._cell or "").strip())
            self._cell = None
        elif tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self._cell is not None:
            self._cell += data


def plan_of(instruction: str = "Name the intent.", *, label: str = "lost", text: str = "my card is gone") -> Plan:
    shape = Shape(
        "Intent",
        instruction,
        (Field("message", {"type": "string"}),),
        (Field("intent", {"enum": [label, "other"], "type": "string"}),),
    )
    demo = Demo("d1", {"message": text}, {"intent": label})
    return Plan(shape, MODEL, instruction, demos=(demo,), decoding=Decoding(max_tokens=40))


def row_of(number: int, stopped_by: str = "", *, label: str = "lost", text: str = "", why: str = "") -> EmittedRow:
    gates = GATES if not stopped_by else GATES[: GATES.index(stopped_by) + 1]
    verdicts = tuple({"gate": gate, "passed": gate != stopped_by, "why": why} for gate in gates)
    target = {"outputs": {"intent": label}, "style": {"tone": "plain"}}
    passport = Passport("r", "p", MODEL, "Apache-2.0", (), {}, target, 1, 9, verdicts)
    status = "accepted" if not stopped_by else "audit" if stopped_by == "agreement" else "rejected"
    values = {"message": text or f"row number {number}", "intent": label}
    return EmittedRow(f"id{number}", f"{label}/{number}/1", status, values, passport, stopped_by, why)


ROWS = [
    *(row_of(number) for number in range(20)),
    *(row_of(number, "near", why=f"near 0.9{number}") for number in range(20, 29)),
    *(row_of(number, "agreement", why="read as other") for number in range(29, 32)),
]
FUNNEL = {"gates": [["schema", 32, 0], ["near", 32, 9], ["agreement", 23, 3]], "accepted": 20, "written": 32}


def trial_of(plan: Plan, mean: float, rows: int = 40, state: str = "complete") -> dict[str, Any]:
    return {
        "params": {"demos": "labelled-1-a", "constrained": True},
        "plan": plan.digest,
        "mean": mean,
        "rows": rows,
        "unparsed": 1,
        "state": state,
        "demos": len(plan.demos),
        "format": plan.format,
        "instruction": plan.instruction,
    }


def proof_of(
    name: str = "compiled", words: str = "Established: compiled scores above baseline (+0.2)."
) -> dict[str, Any]:
    result = {"low": 0.5, "high": 0.9, "unparsed": 0.025, "calls": 40, "tokens": 900, "seconds": 2.0}
    return {
        "task": "Intent",
        "metric": "exact(intent)",
        "rows": 40,
        "opened": 1,
        "words": [words, "With 40 test rows, differences under about 22 points would usually not be seen."],
        "results": [
            {"name": "baseline", "score": 0.6, "rows_per_second": 20.0, **result},
            {"name": name, "score": 0.8, "rows_per_second": None, **result},
        ],
        "comparisons": [
            {
                "better": name,
                "worse": "baseline",
                "difference": 0.2,
                "low": 0.1,
                "high": 0.3,
                "p": 0.01,
                "adjusted": 0.01,
            }
        ],
    }


def make_run(folder: Path) -> Path:
    """A run in which every phase has ended, as the phases themselves leave it."""
    best = plan_of("Name the intent of the message.")
    base = replace(plan_of(), demos=())
    with Store(folder) as store:
        store.claim("compile", {"model": MODEL})
        store.finish_call("a", "compile", MODEL, "{}", "{}", Spent(1, 100, 10, 0.5))
        store.finish_call("b", "emit", MODEL, "{}", "{}", Spent(1, 1000, 20))
        store.fail_call("c", "emit", MODEL, "timeout")
        for number, trial in enumerate(
            (trial_of(base, 0.6), trial_of(plan_of("Guess."), 0.3, 8, "dropped"), trial_of(best, 0.8)), 1
        ):
            store.put_note("trial", f"{number:04d}", trial)
        compiled = {
            "established": True,
            "p": 0.01,
            "best": 0.8,
            "baseline": 0.6,
            "trials": 3,
            "ended": "all trials were run",
        }
        store.put_note("compile", "latest", {**compiled, "verdict": "winner confirmed: 0.800 against 0.600"})
        store.put_rows("r", ROWS)
        store.put_note("funnel", "r", {**FUNNEL, "shortfall": {"lost": 4}})
        store.put_note("proof", "latest", proof_of())
        miss = {"row": {"message": "it is gone", "intent": "lost"}, "got": {"intent": "other"}, "why": "expected lost"}
        store.put_note("misses", "latest", {"baseline": [miss] * 9, "compiled": []})
    best.save(folder / "plan.json")
    base.save(folder / "baseline.json")
    return folder


def check_inert(page: Page, text: str) -> None:
    """Nothing on the page runs, fetches, or hides."""
    shown = {tag for tag, _ in page.tags}
    assert not shown & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "input", "foreignobject"}
    assert [tag for tag, _ in page.tags].count("style") == 1
    assert page.open == []
    for _, attrs in page.tags:
        assert not [
            name for name in attrs if name.startswith("on") or name in ("src", "srcset", "action", "xlink:href")
        ]
        assert attrs.get("href", "#").startswith("#")
        assert "url(" not in attrs.get("style", "").replace("url(#", "")
    assert not RAW.search(text)
