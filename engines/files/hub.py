"""The Hugging Face hub as a source, when it can be reached and is allowed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .cards import HubSource
from .records import hash_model
from .sources import Report, SourceError

__all__ = ["fill"]


def fill(source: HubSource, into: Path, *, progress: bool, report: Report) -> None:
    """Bring every file of `source` under `into`; the hub's own client resumes half a file.

    Files that the user's hub cache holds already are copied, also offline.

    Raises:
        SourceError: If the hub is switched off, cannot be reached, or gives bytes other than pinned.
    """
    import httpx
    import huggingface_hub.errors
    from huggingface_hub import hf_hub_download, is_offline_mode, try_to_load_from_cache

    into.mkdir(parents=True, exist_ok=True)
    for file in source.files:
        cached = try_to_load_from_cache(source.repo, file, revision=source.revision)
        if isinstance(cached, str):
            (into / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached, into / file)
        elif is_offline_mode():
            raise SourceError("the hub is switched off by HF_HUB_OFFLINE")
        else:
            bar = _bar(progress)
            try:
                hf_hub_download(source.repo, file, revision=source.revision, local_dir=into, tqdm_class=bar)
            except huggingface_hub.errors.LocalEntryNotFoundError as error:
                raise SourceError("the hub cannot be reached") from error
            except (OSError, ValueError, httpx.HTTPError) as error:
                raise SourceError(f"{type(error).__name__} on {file}") from error
        report(sum(path.stat().st_size for path in into.rglob("*") if path.is_file()))
    for file, sha256 in source.pins:
        found = hash_model(into / file, "gguf", source.label).sha256
        if found != sha256:
            (into / file).unlink()
            raise SourceError(f"{file} must have sha256 {sha256[:12]}, got {found[:12]}")
    shutil.rmtree(into / ".cache", ignore_errors=True)  # the client's notes are no part of the model


def _bar(progress: bool) -> type[Any]:
    """Make the bar class for the hub's client, which wants to build its bars itself."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": None if progress else True})

    return Bar
