"""`stillroom doctor`: what this machine has, and what is missing. Nothing is fetched and no network is asked."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from stillroom.engines.files import cache_folder, find, known
from stillroom.errors import ModelMissing

from .show import Ending, Screen, table

__all__ = ["Finding", "doctor"]

State = Literal["ok", "missing", "optional"]
LEAST_PYTHON = (3, 11)
LEAST_MEMORY = 4e9  # bytes; the 1.5B teacher with its cache and the embedder


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing` is necessary and not there; `optional` is not there and may stay so."""

    what: str
    state: State
    value: str
    mend: str = ""


def doctor(args: Namespace, screen: Screen) -> Ending:
    """Look at everything; exit code 1 if something necessary is missing."""
    findings = [_python(), _cores(), _memory(), _cache(), *_packages(), *_models(), _sandbox(), _gpu()]
    screen.say(*table([("what", "state", "found"), *((each.what, each.state, each.value) for each in findings)]))
    for each in findings:
        if each.mend and each.state != "ok":
            screen.say(f"{each.what}: {each.mend}")
    missing = [each.what for each in findings if each.state == "missing"]
    screen.say(f"missing: {', '.join(missing)}" if missing else "everything necessary is here")
    return Ending({"findings": [asdict(each) for each in findings], "missing": missing}, 1 if missing else 0)


def _python() -> Finding:
    fits = sys.version_info[:2] >= LEAST_PYTHON
    mend = "" if fits else f"Install Python {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]} or newer."
    return Finding("python", "ok" if fits else "missing", f"{platform.python_version()} on {platform.system()}", mend)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", "ok", f"{usable} usable of {os.cpu_count()} ({platform.machine()})")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's own limit
    text = limit.read_text().strip() if limit.is_file() else "max"
    total = min(total, int(text)) if text.isdigit() else total
    enough = total >= LEAST_MEMORY
    mend = "" if enough else "Use local/smollm2-135m, or a model behind http."
    return Finding("memory", "ok" if enough else "optional", f"{total / 1e9:.1f} GB", mend)


def _cache() -> Finding:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            "cache folder",
            "missing",
            f"{folder} cannot be written ({error.strerror})",
            "Set STILLROOM_CACHE to a folder that can be written.",
        )
    return Finding("cache folder", "ok", f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free")


def _packages() -> list[Finding]:
    """The packages that stillroom's own metadata requires, extras left out."""
    names = [
        match.group()
        for line in importlib.metadata.requires("stillroom") or ()
        if "extra ==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line))
    ]
    return [_package(name) for name in names]


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", "Install stillroom again with pip.")


def _models() -> list[Finding]:
    found = []
    for card in known():
        what = f"model {card.name}"
        try:
            found.append(Finding(what, "ok", str(find(card.name).path)))
        except ModelMissing as error:
            found.append(Finding(what, "optional", str(error), error.mend))
    return found


def _sandbox() -> Finding:
    """Which back-end runs code that models wrote, and why no better one; each is tried with a program."""
    from stillroom.evals.sandbox import available

    choices = available()
    used = next((each for each in choices if each.usable), None)
    better = choices if used is None else choices[: choices.index(used)]
    reasons = "; ".join(f"{each.name}: {each.why}" for each in better)
    if used is None:
        mend = f"Verifiers that run code answer `unverified` until there is one. {better[0].mend}"
        return Finding("sandbox", "optional", f"none ({reasons})", mend)
    return Finding("sandbox", "ok", used.name + (f" ({reasons})" if reasons else ""))


def _gpu() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("gpu", "optional", f"torch does not import ({error})")
    if not torch.cuda.is_available():
        return Finding("gpu", "optional", "none seen by torch")
    return Finding("gpu", "ok", torch.cuda.get_device_name(0))
