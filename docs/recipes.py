"""Write a page for each recipe, from its preset, its method and its stored run; and an index of them all.

python docs/recipes.py        (a test fails when a recipe has no page, or one is out of date)

What a model has written is data: it stands in fenced blocks that it cannot end, with everything spelled
out that a terminal or a browser would obey.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillroom.cli.show import clean
from stillroom.engines.scripted import ScriptedEngine
from stillroom.programs.published import Preset, foresee_preset, presets, systems
from stillroom.programs.published.card import card

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "recipes"
RESULTS = ROOT / "benchmarks" / "results" / "recipes"
CHECKS = ROOT / "benchmarks" / "recipes" / "checks.toml"
SHOWN, ROWS, REJECTED = 1_200, 3, 2
"""Characters of one value, rows and rejected rows that a page shows."""


def main() -> None:
    """Write all pages; those of recipes that are gone are taken away."""
    PAGES.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for path in PAGES.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (PAGES / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {"README.md": index(), **{f"{name}.md": page(preset) for name, preset in presets().items()}}


# -- a page --------------------------------------------------------------------------


def page(preset: Preset) -> str:
    """The page of one recipe."""
    known = card(preset)
    return "\n\n".join(
        [
            f"# {known['title']}",
            known["about"],
            *_facts(known),
            "## Running it",
            _commands(known),
            *_sources(known),
            "## What is asked",
            *_calls(preset, known),
            "## Parameters",
            table(
                ["parameter", "value", "what"],
                [(f"`{each['name']}`", code(each["value"]), each["about"]) for each in known["params"]],
            ),
            "## What it gives",
            table(["schema", "for", "made of"], map(_emit, known["emits"])),
            "## How rows are made",
            f"The method is `programs/methods/{known['method']['name']}.py` (version {known['method']['version']}).",
            "\n\n".join(" ".join(part.split()) for part in cell(known["method"]["about"], lines=True).split("\n\n")),
            *_differs(known),
            "## A real run",
            *stored(preset, _read(RESULTS / "rows" / f"{preset.name}.json")),
            "[All recipes](README.md). `python docs/recipes.py` writes this page.\n",
        ]
    )


def _facts(known: Mapping[str, Any]) -> Iterable[str]:
    covers = "; ".join(f"{cell(name)} ({number})" for number, name in known["covers"].items())
    lines = [
        ("recipe", f"`{known['name']}`"),
        ("systems", covers),
        ("paper", cell(known["paper"])),
        ("licence", cell(known["licence"])),
    ]
    if known["gated"]:
        lines.append(("gated", cell(known["gated"])))
    yield "\n".join(f"- **{name}**: {text}" for name, text in lines)


def _commands(known: Mapping[str, Any]) -> str:
    name, gated = known["name"], " --gated" if known["gated"] else ""
    schema = known["emits"][0]["schema"]
    lm = " --lm local/qwen2.5-coder-1.5b" if known["calls"] else ""
    lines = [
        f"stillroom recipes run {name}{lm} --samples --rows 6{gated}",
        f"stillroom export runs/{name} out --schema {schema}{gated}",
    ]
    if known["calls"]:
        call = known["calls"][0]["name"]
        lines.append(f"stillroom compile --recipe {name} --call '{call}'{lm} --samples{gated}")
    return fenced("\n".join(lines), "sh")


def _sources(known: Mapping[str, Any]) -> Iterable[str]:
    if not known["sources"]:
        return
    yield "Rows of your own go in with `--source NAME=FILE` in place of `--samples`:"
    yield table(
        ["source", "what", "fields", "sample"],
        [
            (
                f"`{each['name']}`" + (" (optional)" if each["optional"] else ""),
                each["about"],
                "; ".join(f"{_field(name)}: {about}" for name, about in each["fields"].items()),
                f"`{each['sample']}`" if each["sample"] else "",
            )
            for each in known["sources"]
        ],
    )


def _calls(preset: Preset, known: Mapping[str, Any]) -> Iterable[str]:
    if not known["calls"]:
        yield "No model is asked."
        return
    yield table(
        ["call", "asked of", "signature", "decoding"],
        [(f"`{each['name']}`", each["role"], _signature(each), _decoding(each)) for each in known["calls"]],
    )
    nobody = ScriptedEngine({}, name="nobody")
    made = foresee_preset(preset, lm=nobody, samples=True)
    wanted = max(made.wanted, 1)
    most = "with no bound above" if made.calls.high is None else f"and {made.calls.high / wanted:.2f} at the most"
    yield f"By arithmetic an accepted row takes {made.calls.low / wanted:.2f} calls at the least, {most}."


def _signature(call: Mapping[str, Any]) -> str:
    made = call["signature"]
    return f"`{made['name']}({', '.join(made['inputs'])}) -> {', '.join(made['outputs'])}`: {made['instruction']}"


def _decoding(call: Mapping[str, Any]) -> str:
    found = call["decoding"]
    said = [f"temperature {found['temperature']:g}"]
    said += [] if found["top_p"] is None else [f"top-p {found['top_p']:g}"]
    said.append(f"{found['max_tokens']} tokens")
    said += ["scored where the engine can"] * call["scored"] + ["reasoning first"] * call["reasoning"]
    return ", ".join(said)


def _field(name: str) -> str:
    return f"`{name.removesuffix('?')}`{' (optional)' if name.endswith('?') else ''}"


def _emit(emit: Mapping[str, Any]) -> tuple[str, str, str]:
    if emit["field"]:
        made = f"the field `{emit['field']}`"
    else:
        made = "; ".join(f"{name} of {', '.join(f'`{each}`' for each in of)}" for name, of in emit["columns"].items())
    rejects = ", with rejected rows" if emit["rejects"] else ""
    return (
        f"`{emit['schema']}`",
        ", ".join(emit["trainers"]) or "no trainer of TRL",
        (made or "the fields themselves") + rejects,
    )


def _differs(known: Mapping[str, Any]) -> Iterable[str]:
    if known["differs"]:
        yield "Where it differs from what was published:"
        yield "\n".join(f"- {cell(each)}" for each in known["differs"])


def stored(preset: Preset, run: Mapping[str, Any] | None) -> Iterable[str]:
    """What is shown of a stored run: its funnel, some rows, some rejects."""
    if run is None:
        yield "No run is stored yet."
        yield fenced(f"python -m benchmarks.recipes --rows {preset.name} --json", "sh")
        return
    cost, rows = run["cost"], run["rows"]
    each = f", {cost['calls_per_row']:.2f} for each row" if cost["calls_per_row"] else ""
    yield (
        f"`{cell(run['model'])}` on the samples, {run['wanted']} rows wanted: {len(rows)} accepted; "
        f"{cost['calls']:,} calls{each}, {cost['tokens_in'] + cost['tokens_out']:,} tokens. {_ended(run)}"
        "Rows are shown as they came, good or bad."
    )
    funnel = [(cell(gate), "" if reached is None else reached, out) for gate, reached, out in run["funnel"]]
    yield table(["gate", "reached", "stopped"], funnel)
    if preset.gated:
        yield "The rows of a gated recipe are not shown."
        return
    for row in rows[:ROWS]:
        yield fenced(_spelled(row["values"]), "json")
    if run["rejected"]:
        yield "Rejected, with the gate and its reason:"
    for row in run["rejected"][:REJECTED]:
        yield f"`{code_text(row['gate'])}`: {cell(_cut(str(row['why']), 300))}"
        yield fenced(_spelled(row["values"]), "json")


def _ended(run: Mapping[str, Any]) -> str:
    return f"It was ended before that: {cell(run['ended'])}. " if run["ended"] else ""


# -- the index -----------------------------------------------------------------------


def index() -> str:
    """The page that names them all."""
    return "\n\n".join(
        [
            "# Recipes",
            "Published systems of data generation, each a preset: a file of parameters over a method. "
            "`stillroom recipes list` tells the same, `stillroom recipes show NAME` more of one, "
            "`stillroom recipes run NAME` makes rows.",
            table(["recipe", "what", "method", "gives", "stored run"], map(_entry, presets().values())),
            "## Compiling a call",
            "Everything that a recipe asks a model is a typed call, and each is a target of compiling. "
            "Wanted rows of the recipe are drawn from its sources and split: some to learn from, some to score "
            "candidates on, some kept for the end. A candidate plan stands in for the call, everything else is done as "
            "ever, and the score of a row is the share of what came of it that passed the recipe's own gates, verifiers "
            "and judges; gates that compare rows with each other are left out. Demos are answers of which came what "
            "passed. The recipe's own plan is kept unless a better one is established; the saved plan says on what evidence.",
            fenced(
                "stillroom compile --recipe self-instruct --call propose --lm local/qwen2.5-coder-1.5b --samples --calls 2000\n"
                "stillroom recipes run self-instruct --samples --plan propose=runs/self-instruct-propose/plan.json",
                "sh",
            ),
            "## Systems",
            "Every system of the table, and what covers it.",
            table(["nr", "system", "paper", "status", "by"], map(_system, systems())),
            "## Checks",
            "Checks that tests decide (D) are run by `python -m benchmarks.recipes --summary --json`; "
            "measured ones (M) by `python -m benchmarks.recipes --json`.",
            table(["check", "of", "what it says", "measured"], map(_check, _checks())),
            "`python docs/recipes.py` writes these pages.\n",
        ]
    )


def _entry(preset: Preset) -> Sequence[Any]:
    run = _read(RESULTS / "rows" / f"{preset.name}.json")
    ran = "" if run is None else f"{len(run['rows'])} of {run['wanted']} rows"
    name = f"[{preset.name}]({preset.name}.md)"
    return name, cell(preset.title), preset.method, ", ".join(preset.emits) + (" (gated)" if preset.gated else ""), ran


def _system(system: Any) -> Sequence[Any]:
    by = ", ".join(f"[{name}]({name}.md)" for name in system.presets) or system.by or system.excluded
    return system.number, cell(system.name), cell(system.paper), system.status, by if system.presets else cell(by)


def _checks() -> list[dict[str, str]]:
    found: list[dict[str, str]] = tomllib.loads(CHECKS.read_text(encoding="utf-8"))["check"]
    return found


def _check(check: Mapping[str, str]) -> Sequence[Any]:
    if check["id"].split()[1].startswith("D"):
        return check["id"], check["of"], cell(check["says"]), "by test"
    found = _read(RESULTS / f"{check['id'].replace(' ', '-')}.json")
    if found is None:
        return check["id"], check["of"], cell(check["says"]), "not yet"
    missed = [
        _figure(each["name"], each["value"], each["direction"], each["goal"])
        for each in found["also"]
        if not each["met"]
    ]
    said = "; ".join([_figure("", found["value"], found["direction"], found["threshold"]), *missed])
    return (
        check["id"],
        check["of"],
        cell(check["says"]),
        cell(f"{'met' if found['met'] else 'not met'}: {said}; n = {found['n']}"),
    )


def _figure(name: str, value: float | None, direction: str, goal: float) -> str:
    """A figure and what it was to be; by name where it is one of several, which are named where they were missed."""
    return f"{name} {'no value' if value is None else f'{value:.3g}'} ({direction} {goal:g})".strip()


# -- Markdown ------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells are taken as they are, but for what would end them."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_celled(each) for each in line)} |" for line in lines)


def _celled(value: Any) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(value).split()))


def cell(text: str, *, lines: bool = False) -> str:
    """A text as text: nothing in it is markup, and nothing is hidden."""
    shown = "\n".join(clean(line) for line in text.split("\n")) if lines else clean(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", shown)


def code(value: Any) -> str:
    """A value as code in a cell, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{code_text(_cut(text, 80))}`" if text else ""


def code_text(text: str) -> str:
    """A text that may stand between two backticks."""
    return clean(" ".join(text.split())).replace("`", "'")


def fenced(text: str, kind: str = "") -> str:
    """A block that its text cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


def _spelled(values: Mapping[str, Any]) -> str:
    """The fields of a row, a line each at the least, cut where they are long."""
    text = json.dumps(_shortened(values), ensure_ascii=False, indent=2)
    return "\n".join(map(clean, text.split("\n")))


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value, SHOWN)
    if isinstance(value, Mapping):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value[:8]] + ([f"... {len(value) - 8} more"] if len(value) > 8 else [])
    return value


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ... ({len(text) - most} more characters)"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


if __name__ == "__main__":
    main()
