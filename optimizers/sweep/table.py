"""What a sweep found: one row a cell, means over seeds, and paired differences to the baseline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import RunReadOnly
from stillroom.values import write_atomic

from .grid import Cell
from .queue import State

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["differences", "summary", "table", "write_table"]

WHAT = ["task", "model", "strategy", "budget", "seed"]
FOUND = ["search", "baseline", "test", "low", "high", "calls", "tokens", "usd", "seconds"]
BASELINE = "baseline"


def table(cells: Sequence[Cell], states: Mapping[str, State]) -> pd.DataFrame:
    """One row per cell, in the sweep's order.

    Columns: task, model, strategy, budget, seed, status; search, baseline (scores on the search
    split, 0..1), test with its bootstrap 95% interval low..high, calls, tokens, usd, seconds of
    the search, ended (why), error (kind and reason of a failed cell),
    engine (the model with its digest, as it answered), folder. What is not known is missing.
    """
    import pandas as pd

    rows = []
    for cell in cells:
        state = states[cell.digest]
        error = f"{state.error['kind']}: {state.error['reason']}" if state.error else ""
        found = {name: state.result.get(name) for name in FOUND}
        rows.append(
            {
                **cell.facts,
                "status": state.status,
                **found,
                "ended": state.result.get("ended", ""),
                "error": error,
                "engine": state.result.get("engine", ""),
                "folder": cell.folder,
            }
        )
    frame = pd.DataFrame(rows, columns=[*WHAT, "status", *FOUND, "ended", "error", "engine", "folder"])
    whole, parts = ["calls", "tokens"], [name for name in FOUND if name not in ("calls", "tokens")]
    return frame.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(parts, "Float64"))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of each task, model, strategy and budget, of the cells that are done.

    Columns: cells (done), search, test and their 95% intervals by Student's t over seeds
    (missing with one seed), calls, tokens, seconds (means).
    """
    import pandas as pd

    rows = []
    for what, group in frame[frame["status"] == "done"].groupby(WHAT[:4], sort=False):
        row: dict[str, Any] = {**dict(zip(WHAT[:4], what, strict=True)), "cells": len(group)}
        for name in ("search", "test"):
            mean, low, high = _mean(group[name])
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {name: float(group[name].mean()) for name in ("calls", "tokens", "seconds")})
    columns = [*WHAT[:4], "cells", "search", "search_low", "search_high", "test", "test_low", "test_high"]
    return pd.DataFrame(rows, columns=[*columns, "calls", "tokens", "seconds"])


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Each strategy against the `baseline` strategy, paired by task, model, budget and seed.

    Columns: strategy, score (search or test), pairs, difference (mean, strategy minus baseline)
    and its 95% interval by Student's t over the pairs, better, worse and even pairs.
    Pairs of one task are not independent of each other, so the interval speaks of these tasks.
    """
    import pandas as pd

    done = frame[frame["status"] == "done"]
    keys = [name for name in WHAT if name != "strategy"]
    against = done[done["strategy"] == BASELINE][[*keys, "search", "test"]]
    rows = []
    for strategy in dict.fromkeys(done["strategy"]):
        if strategy == BASELINE:
            continue
        pairs = done[done["strategy"] == strategy].merge(against, on=keys, suffixes=("", "_baseline"))
        for score in ("search", "test"):
            gaps = (pairs[score] - pairs[f"{score}_baseline"]).dropna()
            if len(gaps):
                mean, low, high = _mean(gaps)
                rows.append(
                    {
                        "strategy": strategy,
                        "score": score,
                        "pairs": len(gaps),
                        "difference": mean,
                        "low": low,
                        "high": high,
                        "better": int((gaps > 0).sum()),
                        "worse": int((gaps < 0).sum()),
                        "even": int((gaps == 0).sum()),
                    }
                )
    columns = ["strategy", "score", "pairs", "difference", "low", "high", "better", "worse", "even"]
    return pd.DataFrame(rows, columns=columns)


def write_table(frame: pd.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write `results.csv` and `results.parquet` into the sweep's folder.

    Raises:
        RunReadOnly: If they cannot be written.
    """
    text, columns = folder / "results.csv", folder / "results.parquet"
    try:
        write_atomic(text, frame.to_csv(index=False))
        temporary = columns.with_name(f".results.parquet.{os.getpid()}")
        frame.to_parquet(temporary, index=False)
        temporary.replace(columns)
    except OSError as error:
        raise RunReadOnly(f"a sweep's folder must be writable, got {folder} ({error.strerror})") from error
    return text, columns


def _mean(values: pd.Series) -> tuple[float | None, float | None, float | None]:
    """Mean and Student's 95% interval; with one value the mean alone, with none nothing."""
    from scipy.stats import t

    known = [float(value) for value in values.dropna()]
    if not known:
        return None, None, None
    mean = sum(known) / len(known)
    if len(known) == 1:
        return mean, None, None
    error = (sum((value - mean) ** 2 for value in known) / (len(known) - 1) / len(known)) ** 0.5
    reach = float(t.ppf(0.975, len(known) - 1)) * error
    return mean, mean - reach, mean + reach
