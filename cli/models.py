"""`stillroom models`: list, fetch and check model files; say what models cost."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stillroom.engines import known_prices, price_of
from stillroom.engines.files import ModelCard, ModelFile, find, known, pull, verify
from stillroom.errors import BadConfig, ModelMissing

from .show import Ending, Screen, table

__all__ = ["models"]


def models(args: Namespace, screen: Screen) -> Ending:
    """Do what `args.action` says with the named models.

    Raises:
        BadConfig: If a name is unknown, or none was given where one is needed.
        ModelMissing: If a model is not here, is damaged, or cannot be fetched. The others are done first.
    """
    if args.action == "list":
        return _list(args.names, screen)
    if args.action == "prices":
        return _prices(args.names, screen, listed=args.all)
    names = [card.name for card in known()] if args.all else args.names
    if not names:
        raise BadConfig(
            f"models {args.action} needs names or --all, got none",
            mend=f"Known names: {', '.join(card.name for card in known())}.",
        )
    files: list[ModelFile] = []
    missing: list[ModelMissing] = []
    for name in names:
        try:
            files.append(_one(args.action, name, screen))
        except ModelMissing as error:
            missing.append(error)
    if missing:
        for other in missing[:-1]:
            screen.note(f"{other} {other.mend}")
        raise missing[-1]
    return Ending({"action": args.action, "models": [_value(file) for file in files]})


def _one(action: str, name: str, screen: Screen) -> ModelFile:
    if action == "path":
        file = find(name)
        screen.say(str(file.path))
    elif action == "verify":
        file = verify(name)
        screen.say(f"{file.name}: sha256 {file.sha256} is right")
    else:
        file = pull(name, progress=screen.draws)
        screen.say(f"{file.name}: {file.path}")
    return file


def _list(names: list[str], screen: Screen) -> Ending:
    cards = [card for card in known() if not names or card.name in names]
    unknown = sorted(set(names) - {card.name for card in cards})
    if unknown:
        raise BadConfig(
            f"a model must be known to be listed, got {unknown[0]!r}",
            mend=f"Known names: {', '.join(card.name for card in known())}.",
        )
    value = [_card(card) for card in cards]
    columns = ("name", "here", "MB", "licence", "default for", "about")
    screen.say(*table([columns, *([each[column] for column in columns] for each in map(_row, value))]))
    return Ending({"action": "list", "models": value})


def _card(card: ModelCard) -> dict[str, Any]:
    state, path = "here", ""
    try:
        path = str(find(card.name).path)
    except ModelMissing as error:
        state = "missing" if "not on this machine" in str(error) else "damaged"
    return {
        "name": card.name,
        "state": state,
        "path": path,
        "bytes": card.size,
        "sha256": card.sha256,
        "licence": card.licence,
        "default_for": list(card.default_for),
        "about": card.about,
    }


def _row(value: dict[str, Any]) -> dict[str, Any]:
    return {
        **value,
        "here": {"here": "yes", "missing": "no"}.get(value["state"], value["state"]),
        "MB": round(value["bytes"] / 1e6),
        "default for": ", ".join(value["default_for"]),
    }


def _prices(names: list[str], screen: Screen, *, listed: bool) -> Ending:
    """The prices in force: of the models named, or all that the user has written down (and, if `listed`, list prices)."""
    found = [(name, price_of(name)) for name in names] or [
        (price.model, price) for price in known_prices(listed=listed)
    ]
    columns = ("model", "input", "output", "cached", "batch", "date", "source")
    rows = [
        (name, *(getattr(price, column) for column in columns[1:])) if price else (name, *[""] * 5, "no price known")
        for name, price in found
    ]
    if rows:
        screen.say("US dollars per million tokens; batches pay the share under batch", *table([columns, *rows]))
    else:
        screen.say("no prices of your own; name models to see what they cost, or --all for LiteLLM's list")
    return Ending(
        {
            "action": "prices",
            "prices": [
                {"model": name, "known": price is not None, **(vars(price) if price else {})} for name, price in found
            ],
        }
    )


def _value(file: ModelFile) -> dict[str, Any]:
    return {"name": file.name, "path": str(file.path), "sha256": file.sha256, "licence": file.licence}
