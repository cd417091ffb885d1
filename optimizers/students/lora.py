"""The LoRA student: a small model fine-tuned on conversations, kept as one GGUF file.

The student is what the file holds: it is exported, reloaded in the local engine
and judged there, never from the weights that training left in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, FingerprintChanged, ModelMissing, RunLocked, RunReadOnly
from stillroom.values import digest, pretty, write_atomic

from ._gguf import Precision, merged_gguf
from ._sft import OnProgress, fine_tuned
from ._sft_rows import Conversation, check_conversations, tokenised

__all__ = ["LoraSettings", "TrainedStudent", "fingerprint", "load", "train"]

METHOD = "lora-sft-1"
"""Part of every fingerprint: changes whenever the same rows would give another student."""

RECORD = "student.json"
WEIGHTS = "student.gguf"


@dataclass(frozen=True)
class LoraSettings:
    """How a student is fine-tuned.

    Attributes:
        epochs: Passes over the rows.
        min_steps: Optimiser steps at least, so that few rows are seen more often.
        rank: Rank of each update; all linear layers get one.
        alpha: The updates are scaled by `alpha / rank`.
        learning_rate: Peak of a cosine schedule with 5 % warm-up (AdamW, no weight decay).
        batch: Rows per optimiser step; of fewer than six such batches a sixth, four at least.
        max_length: Most tokens in one row, prompt and answer; a longer row is refused.
        tile: Tokens of rows laid side by side in one sequence (`lay_out`); the loss is the same for all.
        export: Precision of the merged weights in the file.
        seed: Of the update's initial values and the order of rows.
    """

    epochs: int = 3
    min_steps: int = 60
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    batch: int = 16
    max_length: int = 512
    tile: int = 256
    export: Precision = "q8_0"
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            BadConfig: With the setting and its value.
        """
        for name in ("epochs", "min_steps", "rank", "alpha", "batch", "tile"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise BadConfig(f"learning_rate must be in (0, 1), got {self.learning_rate}")
        if self.max_length < 8:
            raise BadConfig(f"max_length must be >= 8 tokens, got {self.max_length}")
        if self.export not in ("q8_0", "f16"):
            raise BadConfig(
                f"export must be q8_0 or f16, got {self.export!r}",
                mend="Fewer bits round the fine-tuning away.",
            )


@dataclass(frozen=True)
class TrainedStudent:
    """A finished student on disk.

    Attributes:
        path: The GGUF file, for the local engine.
        sha256: Digest of that file: the student's identity.
        base_digest: sha256 of the base model's file.
        fingerprint: Of base, rows and settings together.
        rows: Conversations it was trained on.
        losses: Mean loss per completion token, in nats, of every step.
        seconds: Wall-clock time of training and export.
    """

    path: Path
    sha256: str
    base_digest: str
    fingerprint: str
    rows: int
    losses: tuple[float, ...]
    seconds: float
    settings: LoraSettings

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return len(self.losses)

    @property
    def final_loss(self) -> float:
        """Mean loss over the last tenth of the steps, one step at least."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(tail) / len(tail)


def train(
    base_gguf: Path,
    conversations: Sequence[Conversation],
    folder: Path,
    settings: LoraSettings | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> TrainedStudent:
    """Fine-tune `base_gguf` on `conversations` and export it into `folder`.

    Each conversation ends with the assistant's answer, the only part that bears
    loss. A student that `folder` already holds for the same base, rows and
    settings is returned as it is. A killed training leaves no student.

    Args:
        on_progress: Called after each step with (steps done, steps in all, loss).
            What it raises ends the training.

    Raises:
        BadData: If conversations are missing, malformed or longer than `max_length`.
        BadConfig: If the base's architecture is not supported, or the loss diverges.
        ModelMissing: If there is no file at `base_gguf`.
        FingerprintChanged: If `folder` holds a student made of something else.
        RunLocked: If another process trains in `folder`.
        RunReadOnly: If `folder` cannot be written.
    """
    settings = settings or LoraSettings()
    base_gguf, folder = Path(base_gguf), Path(folder)
    check_conversations(conversations)
    if not base_gguf.is_file():
        raise ModelMissing(f"a student needs its base model's file, none at {base_gguf}")
    base_digest = _sha256(base_gguf)
    wanted = fingerprint(base_digest, conversations, settings)
    finished = load(folder)
    if finished is None:
        with _locked(folder):
            # another process may have finished it meanwhile
            finished = load(folder) or _made(base_gguf, base_digest, conversations, folder, settings, on_progress)
    if finished.fingerprint != wanted:
        raise FingerprintChanged(
            f"folder {folder} holds a student made from another base, rows or settings ({finished.fingerprint[:12]})",
            mend="Train into another folder, or delete this one.",
        )
    return finished


def _made(
    base_gguf: Path,
    base_digest: str,
    conversations: Sequence[Conversation],
    folder: Path,
    settings: LoraSettings,
    on_progress: OnProgress | None,
) -> TrainedStudent:
    """Train, export, and put the student and its record in their places, in this order."""
    started = time.monotonic()
    rows = tokenised(base_gguf, conversations, settings.max_length)
    fit = fine_tuned(base_gguf, rows, settings, on_progress)
    part = folder / f"{WEIGHTS}.part"
    wanted = fingerprint(base_digest, conversations, settings)
    notes = {"stillroom.base_sha256": base_digest, "stillroom.fingerprint": wanted}
    merged_gguf(base_gguf, fit.updates, part, settings.export, notes)
    student = TrainedStudent(
        path=folder / WEIGHTS,
        sha256=_sha256(part),
        base_digest=base_digest,
        fingerprint=wanted,
        rows=len(conversations),
        losses=fit.losses,
        seconds=round(time.monotonic() - started, 3),
        settings=settings,
    )
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(student.path)
    write_atomic(folder / RECORD, pretty(_record(student)))  # last: with its record a student is finished
    return student


def fingerprint(base_digest: str, conversations: Sequence[Conversation], settings: LoraSettings) -> str:
    """Digest (sha256, hex) of all that decides which student comes out."""
    parts = {
        "method": METHOD,
        "base": base_digest,
        "rows": [[[message["role"], message["content"]] for message in row] for row in conversations],
        "settings": asdict(settings),
    }
    return digest(parts, length=64)


def load(folder: Path) -> TrainedStudent | None:
    """Return the finished student in `folder`, or None when there is none.

    A record without its weights, or with weights of another digest, is no student:
    it counts as absent and the next training replaces it.
    """
    path = folder / WEIGHTS
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        student = TrainedStudent(
            path=path,
            sha256=record["sha256"],
            base_digest=record["base_digest"],
            fingerprint=record["fingerprint"],
            rows=record["rows"],
            losses=tuple(record["losses"]),
            seconds=record["seconds"],
            settings=LoraSettings(**record["settings"]),
        )
        whole = _sha256(path) == student.sha256
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, BadConfig):
        return None
    return student if whole else None


def _record(student: TrainedStudent) -> dict[str, Any]:
    """What is written beside the weights, for people and for `load`."""
    return {
        "method": METHOD,
        "file": student.path.name,
        "sha256": student.sha256,
        "base_digest": student.base_digest,
        "fingerprint": student.fingerprint,
        "rows": student.rows,
        "steps": student.steps,
        "final_loss": student.final_loss,
        "seconds": student.seconds,
        "settings": asdict(student.settings),
        "losses": list(student.losses),
    }


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the lock ends with the process, however it ends."""
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context((folder / "student.lock").open("w"))
        except OSError as error:
            raise RunReadOnly(
                f"a student's folder must be one that can be written, {folder} is not: {error.strerror}"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLocked(f"another process trains a student in {folder}", mend="Wait for it to end.") from None
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
