"""Notes of batches under way, in the run's folder: a run that was killed finds its batches again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from stillroom.errors import RunError
from stillroom.values import canonical, write_atomic

__all__ = ["Note", "Notes"]


@dataclass(frozen=True)
class Note:
    """One batch: written before it is made, so that none is made twice.

    Attributes:
        name: Unique everywhere; the batch carries it in its metadata.
        model: The engine's model string.
        ids: Of its lines, in their order.
        file: The uploaded file, once it is.
        batch: The batch, once there is one.
    """

    name: str
    model: str
    ids: tuple[str, ...]
    file: str | None = None
    batch: str | None = None


class Notes:
    """The notes in `folder`, or in a temporary one: then a run that is killed does not find its batches.

    A note stays when its batch has ended. The answers are kept by the endpoint for weeks, and whoever was killed
    between reading and recording them asks for them again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="stillroom-batches-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary is not None else Path(folder or ".")

    def all(self, model: str) -> list[Note]:
        """The notes of `model`, oldest first.

        Raises:
            RunError: If one cannot be read: its batch would be paid for again.
        """
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                note = Note(**{**values, "ids": tuple(values["ids"])})
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise RunError(
                    f"a note of a batch must be readable, got {path} ({type(error).__name__})",
                    mend="Bring it back, or delete it; then what its batch answered is asked and paid for again.",
                ) from error
            if note.model == model:
                found.append(note)
        return found

    def begin(self, model: str, ids: Sequence[str]) -> Note:
        """Note a batch that is about to be made."""
        number = 1 + max((int(path.name[:5]) for path in self.folder.glob("[0-9]" * 5 + "-*.json")), default=0)
        return self._written(Note(f"{number:05d}-{uuid4().hex[:12]}", model, tuple(ids)))

    def add(self, note: Note, *, file: str | None = None, batch: str | None = None) -> Note:
        """Note what has come about of it."""
        return self._written(replace(note, file=file or note.file, batch=batch or note.batch))

    def drop(self, note: Note) -> None:
        """Forget a batch of which nothing was, or can be, answered."""
        (self.folder / f"{note.name}.json").unlink(missing_ok=True)

    def lines(self, note: Note) -> Path:
        """Where the lines of a batch are put together."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{note.name}.jsonl"

    def close(self) -> None:
        """Remove the folder if it was a temporary one."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def _written(self, note: Note) -> Note:
        write_atomic(self.folder / f"{note.name}.json", canonical(asdict(note)))
        return note
