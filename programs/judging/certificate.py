"""Certificates: what a judge was found to be worth, beside people, and for which plan and model that holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig
from stillroom.values import digest, pretty, write_atomic

from .opinion import Judge

__all__ = ["LEAST_KAPPA", "Certificate", "weakness"]

VERSION = 1
LEAST_KAPPA = 0.4
"""What the lower end of kappa's interval must reach: "moderate" begins there (Landis and Koch 1977, as 0.41)."""


@dataclass(frozen=True)
class Certificate:
    """What `certify` found. A readable JSON value; no code, no pickle.

    Attributes:
        judge: Name, kind and plan digest. The name holds every setting.
        model: `provider/name@digest` of the model that judged.
        labels: Digest of the labelled rows, where they came from, and how many.
        agreement: As `stillroom.evals.agreement.agreement` tells it.
        positions: Swap consistency and P(first), for pairs.
        length: Length bias.
        self_preference: Where systems are named.
        calibration: Where there are probabilities.
        canary: Rows to ask again later, with what the judge said of them.
        cost: Calls, tokens and US dollars of the certification.
    """

    judge: Mapping[str, str]
    model: str
    labels: Mapping[str, Any]
    agreement: Mapping[str, Any]
    positions: Mapping[str, Any] | None = None
    length: Mapping[str, Any] | None = None
    self_preference: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    canary: tuple[Mapping[str, Any], ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def kappa_low(self) -> float | None:
        """The lower end of kappa's interval; None where kappa is undefined."""
        found = self.agreement.get("kappa")
        return None if found is None else float(found["low"])

    def doubt(self, judge: Judge, least: float = LEAST_KAPPA) -> str:
        """Say why `judge` may not decide alone on this certificate; "" where it may."""
        if self.judge["plan"] != judge.plan.digest:
            return f"its certificate is for plan {self.judge['plan']}, not {judge.plan.digest}"
        if self.model != judge.engine.model:
            return f"its certificate is for {self.model}, not {judge.engine.model}"
        if self.judge["name"] != judge.name:
            return f"its certificate is for {self.judge['name']!r}, not {judge.name!r}"
        return self.weakness(least)

    def weakness(self, least: float = LEAST_KAPPA) -> str:
        """Say in what the judge is weak; "" where the lower end of its kappa reaches `least`."""
        return weakness(self.agreement.get("kappa"), least)

    @property
    def digest(self) -> str:
        """Content hash, by which passports name it."""
        return digest(self._content())

    @property
    def warnings(self) -> list[str]:
        """What a reader must not overlook, a line each."""
        found = []
        positions = self.positions or {}
        swap, first = positions.get("swap_consistency"), positions.get("p_first")
        if swap and swap["mean"] < 0.6:
            found.append(f"swap consistency {swap['mean']:.2f} is under 0.6: use averaged log-probabilities only")
        if first and not 0.35 <= first["mean"] <= 0.65:
            found.append(f"P(first) {first['mean']:.2f} is outside 0.35..0.65: the judge favours a place")
        for name, what in (("length", "length"), ("self_preference", "answers of its own family")):
            gap = (getattr(self, name) or {}).get("difference")
            if gap and (gap["low"] > 0 or gap["high"] < 0):
                found.append(
                    f"{'favours' if gap['mean'] > 0 else 'disfavours'} {what} beyond people: {gap['mean']:+.2f}"
                )
        if self.agreement["open"]:
            found.append(
                f"{self.agreement['open']} of {self.agreement['n']} rows were left open; they count as disagreement"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """The certificate as a plain JSON value, with its own digest."""
        value = self._content()
        return {"stillroom": VERSION, "kind": "certificate", "digest": digest(value), **value}

    def _content(self) -> dict[str, Any]:
        return {**asdict(self), "canary": [dict(row) for row in self.canary]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Certificate:
        """Read back what `as_json` wrote.

        Raises:
            BadConfig: If it is no certificate of this version, or was edited.
        """
        kind, version = (value.get("kind"), value.get("stillroom")) if isinstance(value, Mapping) else (None, None)
        if kind != "certificate" or version != VERSION:
            raise BadConfig(
                f"a certificate must have kind 'certificate' and version {VERSION}, got {kind!r} and {version!r}"
            )
        content = {name: each for name, each in value.items() if name not in ("stillroom", "kind", "digest")}
        if digest(content) != value.get("digest"):
            raise BadConfig(
                "a certificate's digest must match its content, got one that was edited",
                mend="Certify the judge again.",
            )
        return cls(**{**content, "canary": tuple(content["canary"])})

    def save(self, path: Path | str) -> Path:
        """Write it as readable JSON, atomically."""
        write_atomic(Path(path), pretty(self.as_json()))
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Certificate:
        """Read a saved certificate. Raises `BadConfig` as `from_json` does."""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise BadConfig(f"a certificate file must exist, got {str(path)!r}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{path} is not a certificate ({type(error).__name__}: {error})") from error


def weakness(kappa: Mapping[str, float] | None, least: float = LEAST_KAPPA) -> str:
    """Say in what a judge with this kappa is weak; "" where the lower end of its interval reaches `least`."""
    if kappa is None:
        return "its kappa is undefined on these labels"
    if kappa["low"] < least:
        return f"its kappa with people may be as low as {kappa['low']:.2f}, under {least:g}"
    return ""
