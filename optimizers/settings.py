"""How to search, and by which rule a program is picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig

__all__ = ["COSTS", "Preference", "Settings", "read_preference", "settings_value"]

COSTS = ("tokens", "usd", "seconds")


@dataclass(frozen=True)
class Preference:
    """The rule that picks one program off the front of score against cost.

    Attributes:
        rule: `score` takes the best score; `within` the cheapest that is at most `limit` below it;
            `under` the best that costs at most `limit`. Equal ones go to the cheaper.
        cost: What is meant by cost, per answered row: `tokens`, `usd` or `seconds`.
        limit: Points of score (0..1) for `within`, an amount of `cost` for `under`.
    """

    rule: Literal["score", "within", "under"] = "score"
    cost: str = "tokens"
    limit: float = 0.0


def read_preference(text: str) -> Preference:
    """Read `score`, `within:0.02`, `within:0.02:usd`, `under:400` or `under:0.001:usd`.

    Raises:
        BadConfig: If it is none of these.
    """
    rule, _, rest = text.partition(":")
    amount, _, cost = rest.partition(":")
    bad = BadConfig(
        f"prefer must be score, within:POINTS[:COST] or under:AMOUNT[:COST], got {text!r}",
        mend=f"For example within:0.02:tokens; COST may be {', '.join(COSTS)}.",
    )
    if rule == "score" and not rest:
        return Preference()
    try:
        limit = float(amount)
    except ValueError:
        raise bad from None
    cost = cost or "tokens"
    if rule not in ("within", "under") or cost not in COSTS or not 0 <= limit < float("inf"):
        raise bad
    return Preference(rule, cost, limit)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        trials: Candidates to race, the baseline included.
        proposals: Instructions to ask the prompt model for, over the whole search; 0 asks for none.
        formats: Formats to try; `None` for all that fit.
        reasoning: Whether to try answers with reasoning; `None` tries it where every output is a number.
        scored: Whether to try labels scored by log-probability instead of written; `None` tries it for
            up to 8 labels on engines that can score.
        temperatures: Sampling temperatures to try.
        embedding: What coverage by demos is measured on: `words` (tf-idf) or `minilm`.
        confirm: Labelled rows of the demos split (at most half of it) that are kept from the search, so
            that the best candidate and the baseline can be compared on them at the end; 0 for none.
        alpha: Largest one-sided p at which a winner is announced.
        prefer: The rule that picks a program off the front; see `read_preference`.
        storage: URL of an Optuna storage for the study; `None` for a journal file in the run folder.
        seed: Of demo draws, proposals and the sampler.
    """

    trials: int = 24
    proposals: int = 6
    formats: Sequence[str] | None = None
    reasoning: bool | None = None
    scored: bool | None = None
    temperatures: Sequence[float] = (0.0,)
    embedding: str = "words"
    confirm: int = 80
    alpha: float = 0.05
    prefer: str = "score"
    storage: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("proposals", 0), ("confirm", 0)):
            if getattr(self, name) < least:
                raise BadConfig(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.alpha < 1:
            raise BadConfig(f"alpha must be between 0 and 1, got {self.alpha}")
        if self.embedding not in ("words", "minilm"):
            raise BadConfig(f"embedding must be words or minilm, got {self.embedding!r}")
        if not self.temperatures:
            raise BadConfig("temperatures must hold at least one, got none")
        read_preference(self.prefer)


def settings_value(settings: Settings) -> dict[str, Any]:
    """The settings that decide the course, as a plain JSON value for fingerprints: where the study is kept does not."""
    value = asdict(settings)
    del value["storage"]
    return {
        **value,
        "temperatures": list(settings.temperatures),
        "formats": None if settings.formats is None else list(settings.formats),
    }
