"""Which model an endpoint says that it serves: it must not change under a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from stillroom.database import reading
from stillroom.errors import EngineRefused

__all__ = ["Served", "first_told"]

FIRST = "SELECT response FROM calls WHERE model = ? AND status = 'done' ORDER BY id LIMIT 1"


class Served:
    """Hold an endpoint to the model id of its first answer, or to those that were declared.

    What is asked for and what answers need not have the same name (`gpt-4o` is answered by
    `gpt-4o-2024-08-06`), so the first answer is the reference. Once another id has answered, nothing
    more is sent: every further answer would be paid for and thrown away.

    Args:
        host: For messages.
        accepted: Ids that count as the same model, `*` and `?` standing for anything; none: the first one seen.
    """

    def __init__(self, host: str, accepted: Sequence[str]) -> None:
        self.first: str | None = None
        self._host, self._accepted = host, tuple(accepted)
        self._other: str | None = None

    def check(self, told: object) -> None:
        """Compare the id of an answer. An answer without one passes.

        Raises:
            EngineRefused: If it is another model's.
        """
        if told == self.first or not isinstance(told, str) or not told:
            return
        if any(fnmatchcase(told, pattern) for pattern in self._accepted):
            self.first = self.first or told
        elif self.first is None and not self._accepted:
            self.first = told
        else:
            self._other = told
            self.hold()

    def hold(self) -> None:
        """Refuse to go on once another model has answered. Raises `EngineRefused`."""
        if self._other is None:
            return
        expected = repr(self.first) if self.first else " or ".join(map(repr, self._accepted))
        raise EngineRefused(
            f"{self._host} must go on serving {expected}, got an answer of {self._other!r}",
            mend=f"If they are the same model, pass serves=[{expected}, {self._other!r}]; else start a run of its own for the new one.",
        )


def first_told(path: Path, model: str) -> object:
    """The id under which the first recorded call of `model` was answered; `None` if there is none in this store."""
    with reading(path) as database:
        for (response,) in database.execute(FIRST, (model,)):
            answer = json.loads(response)
            return (answer.get("provider_data") or {}).get("model") if isinstance(answer, dict) else None
    return None
