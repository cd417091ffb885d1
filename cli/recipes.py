"""`stillroom recipes list|show|run`: published systems of data generation."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadData

from .begun import begins, remember
from .dry_run import lines
from .emission import SHORT, facts_of, indented, lines_of
from .order import read_order
from .show import Ending, Screen

if TYPE_CHECKING:
    from stillroom.programs import Emitted
    from stillroom.programs.forecast import Forecast
    from stillroom.programs.published import Method, Order

__all__ = ["recipes_list", "recipes_run", "recipes_show"]


def recipes_list(args: Namespace, screen: Screen) -> Ending:
    """Every published system, whether it runs, and by what; then every recipe."""
    from stillroom.programs.published import presets, systems

    table, shelf = systems(), presets()
    counts = Counter(each.status for each in table)
    columns = [("nr", "system", "status", "by"), *((each.number, each.name, each.status, _by(each)) for each in table)]
    recipes = [
        ("recipe", "emits", "method", "what"),
        *((each.name, ", ".join(each.emits), each.method, each.title) for each in shelf.values()),
    ]
    told = ", ".join(f"{counts[status]} {words}" for status, words in STATUS.items() if counts[status])
    screen.say(f"{len(table)} published systems: {told}", *indented(columns))
    screen.say(f"{len(shelf)} recipes; stillroom recipes show NAME tells more", *indented(recipes))
    value = {
        "systems": [each.as_json() for each in table],
        "counts": dict(counts),
        "recipes": [
            {
                "name": each.name,
                "title": each.title,
                "covers": list(each.covers),
                "emits": list(each.emits),
                "method": each.method,
                "rows": each.rows,
                "gated": each.gated,
            }
            for each in shelf.values()
        ],
    }
    return Ending(value)


STATUS = {"runs": "run", "excluded": "are excluded", "missing": "are missing"}


def _by(system: Any) -> str:
    return ", ".join(system.presets) or system.by or system.excluded


def recipes_show(args: Namespace, screen: Screen) -> Ending:
    """All that is known of a recipe, and what its rows take at the least and at the most."""
    from stillroom.engines import open_engine
    from stillroom.engines.scripted import ScriptedEngine
    from stillroom.programs.published import foresee_preset, preset
    from stillroom.programs.published.card import card

    found = preset(args.recipe)
    known = card(found)
    engine = open_engine(args.lm) if args.lm else ScriptedEngine({}, name="nobody")
    try:
        made = foresee_preset(found, lm=engine, samples=True)
    finally:
        engine.close()
    screen.say(*_shown(known))
    calls = _per_row(made)
    screen.say(f"cost: {_cost(calls)} calls per accepted row, by arithmetic over {made.wanted} rows of the samples")
    if args.lm:
        screen.say(*lines(found.name, made))
    screen.say(f"to run it: stillroom recipes run {found.name} --lm MODEL {_wanted(known)}{_gate(known)}--rows N")
    forecast = made.as_json() if args.lm else None
    return Ending({**known, "calls_per_row": calls, "forecast": forecast})


def _per_row(made: Forecast) -> dict[str, float | None]:
    wanted = max(made.wanted, 1)
    return {"least": made.calls.low / wanted, "most": None if made.calls.high is None else made.calls.high / wanted}


def _cost(calls: dict[str, float | None]) -> str:
    return f"{calls['least']:.2f} or more" if calls["most"] is None else f"{calls['least']:.2f} to {calls['most']:.2f}"


def _wanted(known: dict[str, Any]) -> str:
    needed = [each["name"] for each in known["sources"] if not each["optional"]]
    return "".join(f"--source {name}=FILE " for name in needed) + ("(or --samples) " if needed else "")


def _gate(known: dict[str, Any]) -> str:
    return "--gated " if known["gated"] else ""


def _shown(known: dict[str, Any]) -> Iterator[str]:
    from stillroom.programs.published.method import spelled

    yield f"{known['name']}: {known['title']} (systems {', '.join(map(str, known['covers']))})"
    yield from (f"  {known[each]}" for each in ("about", "paper"))
    yield f"  licence: {known['licence']}"
    if known["gated"]:
        yield f"  gated: {known['gated']}"
    yield from (f"  differs: {each}" for each in known["differs"])
    if known["sources"]:
        yield "sources"
    for each in known["sources"]:
        fields = "; ".join(f"{spelled(name)}: {about}" for name, about in each["fields"].items())
        optional, sample = " (optional)" if each["optional"] else "", f"; sample {each['sample']}"
        yield f"  {each['name']}{optional}: {each['about']}; fields {fields}{sample if each['sample'] else ''}"
    yield f"calls of the method {known['method']['name']}"
    for each in known["calls"]:
        yield f"  {each['name']}: {_signature(each['signature'])} by the {each['role']}; {_decoding(each)}"
    yield "parameters"
    yield from indented(
        [("name", "value", "type", "what"), *((each["name"], _short(each["value"]), each["type"], each["about"]) for each in known["params"])]
    )  # fmt: skip
    yield "emits"
    for each in known["emits"]:
        trainers = f" for {' and '.join(each['trainers'])}" if each["trainers"] else ", for a trainer of one's own"
        yield f"  {each['schema']}{trainers}"


def _signature(signature: dict[str, Any]) -> str:
    return f"{signature['name']}({', '.join(signature['inputs'])}) -> {', '.join(signature['outputs'])}"


def _decoding(call: dict[str, Any]) -> str:
    decoding = call["decoding"]
    said = [f"temperature {decoding['temperature']:g}"]
    if decoding["top_p"] is not None:
        said.append(f"top-p {decoding['top_p']:g}")
    said.append(f"at most {decoding['max_tokens']} tokens")
    said += ["scored by log-probability where the engine can"] * call["scored"] + ["reasoning first"] * call[
        "reasoning"
    ]
    return ", ".join(said)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def recipes_run(args: Namespace, screen: Screen, *, again: bool = False) -> Ending:
    """Make the rows of a recipe; exit code 6 if fewer were accepted than wanted."""
    begins(args)
    order = read_order(args)
    with order.opened(screen) as (what, bars):
        remember(order.run, args)
        emitted = order.made(what, bars, again=again or bool(args.retry))
        bars.done()
    wanted = order.preset.rows if what.rows is None else what.rows
    value = {
        "recipe": order.preset.name,
        "wanted": wanted,
        **facts_of(emitted, order.run, "emit"),
        "cost": emitted.cost.as_json() if emitted.cost else None,
        "emits": list(order.preset.emits),
    }
    screen.say(
        f"{order.preset.name}: {len(emitted.rows)} rows accepted of {emitted.written} written",
        *lines_of(emitted, value["spent"]),
        *([f"  {emitted.cost}"] if emitted.cost else []),
        f"  rows: {value['rows']}",
        f"  next: stillroom export {order.run} FOLDER --schema {order.preset.emits[0]}",
    )
    if emitted.cost and not emitted.cost.close:
        screen.note(
            f"the forecast was {abs(emitted.cost.off or 0):.0%} off for the funnel that came: it or the bill is wrong"
        )
    for over in _over(order.preset.load(), what, emitted):
        screen.note(f"the rows cannot be exported as they are: {over}")
    if samples := _sampled(what):
        screen.note(f"rows of our own stood in for {', '.join(samples)}: give your own for rows of use")
    short = bool(emitted.shortfall) or len(emitted.rows) < wanted
    return Ending(value, SHORT if short else 0)


def _sampled(what: Order) -> list[str]:
    return [name for name in what.preset.sample if what.samples and name not in what.given]


def _over(method: Method[Any], what: Order, emitted: Emitted) -> Iterator[str]:
    """What stands against an export of the rows: more of a kind than the recipe lets out."""
    for cap in method.caps(method.settle({**what.preset.params, **what.params})):
        try:
            cap.check(emitted.rows)
        except BadData as error:
            yield str(error)
