"""A measured acceptance check as a value: what it says, the function that measures it, and what came of it.

A module of this folder holds `CHECKS`, a list of checks, each with a function of `Models`. It opens the
models it needs by their short names and lets every call go through a run in the folder `models.run`,
so that a check that was stopped goes on where it stopped and pays nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks._result import Goal
from stillroom.engines import Engine, Session, open_engine, open_session

__all__ = ["MODELS", "Check", "Measured", "Models"]

MODELS = {"qwen": "local/qwen2.5-coder-1.5b", "smol": "local/smollm2-135m"}


@dataclass
class Models:
    """The local models of one check, each opened once, and the folder that its calls are kept in.

    Attributes:
        run: A run folder, or the folder of several. The check's own: it is there, and it may hold earlier calls.
        opened: What was opened so far, by short name.
        named: What short names stand for.
    """

    run: Path
    opened: dict[str, Engine] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=lambda: MODELS)

    def __enter__(self) -> Models:
        self.run.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def __call__(self, name: str) -> Engine:
        """The engine called `qwen` or `smol`; it is closed when the check ends."""
        if name not in self.opened:
            engine = open_engine(self.named[name])
            self._stack.callback(engine.close)
            self.opened[name] = engine
        return self.opened[name]

    @contextmanager
    def session(self, name: str, phase: str = "check", folder: str = "") -> Iterator[Session]:
        """A metered session with a model, for checks that ask plans of their own: `session.engine` is asked.

        Args:
            name: Of the model.
            phase: Of the run.
            folder: A folder in `run`; `run` itself where "".
        """
        with open_session(self(name), self.run / folder if folder else self.run, phase, {"check": phase}) as session:
            yield session


@dataclass(frozen=True)
class Measured:
    """What a check found.

    Attributes:
        figures: Everything worth knowing, as plain JSON values.
        value: The figure that decides; None where it could not be measured, which is not met.
        threshold: What it must reach. It is that of the check's text, and is not changed to fit.
        direction: Which side of the threshold is good.
        n: How many cases the value rests on.
        also: Further figures that must hold, where the check's text has several.
    """

    figures: Mapping[str, Any]
    value: float | None
    threshold: float
    direction: Literal[">=", "<="] = ">="
    n: int = 0
    also: tuple[Goal, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the value, and all others that must hold, are on the right side."""
        return Goal("", self.value, self.threshold, self.direction).met and all(each.met for each in self.also)

    def as_json(self) -> dict[str, Any]:
        """A plain JSON value."""
        return {**asdict(self), "also": [{**asdict(each), "met": each.met} for each in self.also], "met": self.met}


@dataclass(frozen=True)
class Check:
    """One measured acceptance check.

    Attributes:
        id: Section and number, as `checks.toml` has it: "2.1 M1".
        says: What it says, in a sentence.
        measure: Measures it.
        model: Short name of the model that its figure is about, "" for none.
    """

    id: str
    says: str
    measure: Callable[[Models], Measured]
    model: str = ""

    @property
    def slug(self) -> str:
        """Its id as a file name: "2.1-M1"."""
        return self.id.replace(" ", "-")
