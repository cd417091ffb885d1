"""Duplicates at scale: the same decisions as comparing all with all, how work grows, and what is found.

    python -m benchmarks.dedup --json [--part naive scale million planted overlaps guard] [--state FILE]

Texts are made from the development sets (`STILLROOM_DATA`, or ../shared/data): a quarter as
they are, a tenth with one word changed, the rest the start of one joined to the end of
another, so that words are as frequent as in language while the vocabulary stops growing,
which is harder for an index than real text. Each part runs in a process of its own; with
`--state` a part that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from stillroom.errors import ModelMissing
from stillroom.evals.copies.decontaminate import Decontamination, Parts
from stillroom.evals.copies.duplicates import Match, folded, words
from stillroom.evals.copies.guarded import Guarded, guarded_file
from stillroom.evals.copies.nearest import without_paraphrases
from stillroom.evals.copies.novelty import content_order, novel, rouge_words
from stillroom.evals.copies.pool import Pool, without_copies
from stillroom.evals.embedding import default_embedder
from stillroom.values import write_atomic

from ._result import Goal, emit

__all__ = ["invented", "real_texts"]

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIELDS = ("instruction", "prompt", "question", "text", "input")
SIZES = {"naive": [5_000], "scale": [10_000, 30_000, 52_000, 100_000], "million": [1_000_000]}
SIZES |= {"planted": [1_000], "overlaps": [0], "guard": [20_000]}


def real_texts() -> list[str]:
    """Every text of 2 to 60 words in the development sets, once, shuffled."""
    found: dict[str, None] = {}
    for path in sorted(DATA.glob("*/*.jsonl")):
        if path.parent.name != "overlaps":
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                text = next((row[name] for name in FIELDS if isinstance(row.get(name), str)), "")
                found[" ".join(text.split())] = None
    texts = [text for text in found if 2 <= len(text.split()) <= 60]
    random.Random(0).shuffle(texts)
    return texts


def invented(count: int, seed: int = 1) -> Iterator[str]:
    """Give `count` texts made from real ones."""
    rng, real = random.Random(seed), real_texts()
    for at in range(count):
        pick = rng.random()
        if pick < 0.25 and at < len(real):
            yield real[at]
        elif pick < 0.35:
            yield changed(rng.choice(real), rng, real)
        else:
            first, last = rng.choice(real).split(), rng.choice(real).split()
            kept = first[: rng.randint(len(first) // 3, len(first))]
            yield " ".join(kept + last[rng.randint(0, len(last) * 2 // 3) :])


def changed(text: str, rng: random.Random, real: Sequence[str]) -> str:
    """Put a word from elsewhere in the place of one."""
    split = text.split()
    split[rng.randrange(len(split))] = rng.choice(rng.choice(real).split())
    return " ".join(split)


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Do `work`; give what it gives, and its seconds on the clock and of this process."""
    wall, cpu = time.monotonic(), time.process_time()
    done = work()
    return done, {"seconds": round(time.monotonic() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}


def naive(sizes: list[int]) -> dict[str, Any]:
    """Compare decisions with those of the quadratic definition."""
    texts = list(invented(sizes[0]))
    split = [rouge_words(text) for text in texts]
    out: dict[str, Any] = {"texts": len(texts)}
    for name, keep_at_limit in (("above", True), ("at", False)):
        want, cost = measured(partial(quadratic, split, keep_at_limit))
        got, own = measured(partial(novel, texts, keep_at_limit=keep_at_limit))
        mine = [None if match is None else int(match.other_id) for match in got]
        out[name] = {
            "kept": sum(other is None for other in want["exact"]),
            "decided_otherwise": sum((a is None) != (b is None) for a, b in zip(want["exact"], mine, strict=True)),
            "other_match": sum(a != b for a, b in zip(want["exact"], mine, strict=True)),
            "decided_otherwise_in_floats": sum(
                (a is None) != (b is None) for a, b in zip(want["floats"], mine, strict=True)
            ),
            "pairs_compared_by_definition": want["pairs"],
            "definition": cost,
            "index": own,
        }
    return out


def quadratic(split: Sequence[Sequence[str]], keep_at_limit: bool) -> dict[str, Any]:
    """Decide by comparing with every kept text: in whole numbers, and in rouge-score's floats."""
    letters: dict[str, str] = {}
    coded = ["".join(letters.setdefault(word, chr(0x4E00 + len(letters))) for word in each) for each in split]
    out: dict[str, Any] = {"pairs": 0}
    for how in ("exact", "floats"):
        kept: list[int] = []
        lists: list[str] = []
        decided: list[int | None] = []
        for at, mine in enumerate(coded):
            common = process.cdist([mine], lists, scorer=LCSseq.similarity)[0].tolist() if lists else []
            out["pairs"] += len(lists)
            best = max(range(len(common)), key=lambda i: (f1(common[i], len(mine), len(lists[i])), -i), default=None)
            stop = best is not None and over(how, common[best], len(mine), len(lists[best]), keep_at_limit)
            decided.append(kept[best] if stop and best is not None else None)
            if not stop:
                kept.append(at)
                lists.append(mine)
        out[how] = decided
    out["pairs"] //= 2
    return out


def f1(common: int, left: int, right: int) -> float:
    """2 common / (m + n)."""
    return 2 * common / (left + right) if common else 0.0


def over(how: str, common: int, left: int, right: int, keep_at_limit: bool) -> bool:
    """Whether a pair is over 0.7."""
    if not common:
        return False
    if how == "exact":
        there, limit = 20 * common, 7 * (left + right)
        return there > limit or (there == limit and not keep_at_limit)
    precision, recall = common / left, common / right  # as rouge_score.scoring.fmeasure has it
    score = 2 * precision * recall / (precision + recall)
    return score > 0.7 or (score == 0.7 and not keep_at_limit)


def scale(sizes: list[int]) -> dict[str, Any]:
    """Time the filter at growing sizes, from texts to decisions."""
    everything = list(invented(max(sizes)))
    novel(everything[:500])  # libraries are loaded
    out: dict[str, Any] = {}
    for size in sizes:
        texts = everything[:size]
        found, cost = measured(partial(novel, texts))
        out[str(size)] = {"kept": sum(match is None for match in found), **cost}
    if len(sizes) > 1:
        low, high = sizes[0], sizes[-1]
        for clock in ("seconds", "cpu"):
            ratio = out[str(high)][clock] / max(out[str(low)][clock], 1e-9)
            out[f"exponent_{clock}"] = round(math.log(ratio) / math.log(high / low), 3)
    return out


def million(sizes: list[int]) -> dict[str, Any]:
    """Find near duplicates among many short texts, with the pool on disk."""
    before = peak_gb()
    with Pool() as pool:
        added, cost = measured(lambda: pool.add((str(at), text) for at, text in enumerate(invented(sizes[0]))))
        kept = added.kept
    return {
        "texts": sizes[0],
        "kept": kept,
        "exact": added.exact,
        "near": added.near,
        "compared": added.compared,
        **cost,
        "peak_gb": round(peak_gb(), 2),
        "peak_gb_before": round(before, 2),
    }


def peak_gb() -> float:
    """Most memory this process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def planted(sizes: list[int]) -> dict[str, Any]:
    """Plant near duplicates of every kind among texts that are far apart; see what is found, and what is made up."""
    real = [text for text in real_texts() if 6 <= len(words(text)) <= 30]
    rng = random.Random(2)
    far = [text for text, match in zip(real, without_copies(real[: sizes[0] * 4]), strict=False) if match is None]
    base = [text for text, match in zip(far, novel(far, 0.5, split=words), strict=True) if match is None][: sizes[0]]
    kinds: dict[str, Callable[[str], str]] = {
        "case_space": lambda text: "  ".join(text.upper().split()),
        "punctuation": lambda text: "... ".join(text.split(" ", 2)) + "!!",
        "one_word_changed": lambda text: changed(text, rng, real),
        "word_dropped": lambda text: " ".join(drop(text.split(), rng)),
        "typo": lambda text: typo(text, rng),
        "halves_swapped": lambda text: " ".join(halves(text.split())),
    }
    copies = {kind: [make(text) for text in base] for kind, make in kinds.items()}
    methods: dict[str, Callable[[list[str]], list[Match | None]]] = {
        "exact": by_folding,
        "rouge_l": lambda texts: novel(texts, split=words, order=content_order(texts)),
        "minhash": without_copies,
    }
    try:
        embedder = default_embedder()
        methods["cosine"] = partial(without_paraphrases, embedder=embedder)
        embedder.embed(["ready"])
    except ModelMissing:
        methods.pop("cosine", None)
    return {
        "bases": len(base),
        "methods": {name: {k: found(method, base, copies[k]) for k in kinds} for name, method in methods.items()},
    }


def found(method: Callable[[list[str]], list[Match | None]], base: list[str], copies: list[str]) -> dict[str, float]:
    """Of planted pairs the share found, and of what is found the share that was planted."""
    texts = base + copies
    pairs = [(at, int(match.other_id)) for at, match in enumerate(method(texts)) if match is not None]
    right = sum(abs(at - other) == len(base) for at, other in pairs)
    precision = round(right / len(pairs), 4) if pairs else 1.0
    return {"recall": round(right / len(base), 4), "precision": precision}


def by_folding(texts: list[str]) -> list[Match | None]:
    """Exact copies after folding."""
    first: dict[str, int] = {}
    places = [first.setdefault(folded(text), at) for at, text in enumerate(texts)]
    return [None if place == at else Match(str(place), 1.0, "exact") for at, place in enumerate(places)]


def drop(split: list[str], rng: random.Random) -> list[str]:
    """Leave one word out."""
    at = rng.randrange(len(split))
    return split[:at] + split[at + 1 :]


def typo(text: str, rng: random.Random) -> str:
    """Swap two letters that follow each other."""
    at = rng.randrange(len(text) - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def halves(split: list[str]) -> list[str]:
    """Put the second half first."""
    return split[len(split) // 2 :] + split[: len(split) // 2]


def overlaps(_: list[int]) -> dict[str, Any]:
    """Ask of each labelled pair alone whether text b copies text a; then of all clean texts against all others."""
    path = DATA / "overlaps" / "data.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    embedder: Any = default_embedder()
    try:
        embedder.embed([text for row in rows for text in (row["a"], row["b"])])
    except ModelMissing:
        embedder = None
    removed: dict[str, list[bool]] = defaultdict(list)
    told: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        guard = Decontamination([Guarded(row["id"], row["a"], row["a_source"])], embedder=embedder)
        (finding,) = guard.examine([Parts((row["b"],))])
        for key in (f"{row['level']}", f"{row['level']}: {row['relation']}"):
            removed[key].append(finding is not None and finding.removes)
            told[key].append(finding is not None)
    everything = {row["a"] for row in rows}
    guard = Decontamination([Guarded(row["id"], row["a"], row["a_source"]) for row in rows])
    clean = [Parts((row["b"],)) for row in rows if row["level"] == "clean" and row["b"] not in everything]
    right, wrong = sum(removed["leak"]), sum(removed["clean"])
    return {
        "rows": Counter(row["level"] for row in rows),
        "embedder": embedder is not None,
        "recall_removed": round(right / len(removed["leak"]), 4),
        "recall_removed_or_reported": round(sum(told["leak"]) / len(told["leak"]), 4),
        "precision": round(right / (right + wrong), 4),
        "clean_reported": round(sum(told["clean"]) / len(told["clean"]), 4),
        "clean_removed_against_all": sum(each is not None and each.removes for each in guard.examine(clean)),
        "by_relation": {
            key: {"removed": round(sum(hits) / len(hits), 3), "told": round(sum(told[key]) / len(hits), 3)}
            for key, hits in sorted(removed.items())
            if ":" in key
        },
    }


def guard(sizes: list[int]) -> dict[str, Any]:
    """Guard every text of every file of the development sets, and time building and asking."""
    paths = [path for path in sorted(DATA.glob("*/*.jsonl")) if path.parent.name != "overlaps"]
    guarded = [each for path in paths for each in guarded_file(path)]
    size = sum(len(each.text) for each in guarded)
    own, built = measured(lambda: Decontamination(guarded))
    texts = list(invented(sizes[0]))
    found, asked = measured(lambda: own.examine([Parts((text,)) for text in texts]))
    return {
        "guarded_texts": len(guarded),
        "guarded_mb": round(size / 1e6, 2),
        "build": built,
        "rows": len(texts),
        "ask": asked,
        "rows_per_second": round(len(texts) / asked["seconds"]),
        "removed": sum(each is not None for each in found),
    }


PARTS = {"naive": naive, "scale": scale, "million": million, "planted": planted, "overlaps": overlaps, "guard": guard}


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What was promised, of the parts that were measured at their full size."""
    out = []
    if "naive" in figures:
        both = [figures["naive"][name]["decided_otherwise"] for name in ("above", "at")]
        out.append(Goal("decisions other than the quadratic definition's", sum(both), 0, "<="))
    if "scale" in figures:
        slope = figures["scale"].get("exponent_cpu")
        out.append(Goal("growth exponent of processor time, first to last size", slope, 1.3, "<="))
        if "52000" in figures["scale"]:
            out.append(Goal("seconds for 52,000 instructions", figures["scale"]["52000"]["seconds"], 60, "<="))
    if "million" in figures:
        part = figures["million"]
        out.append(Goal(f"minutes for {part['texts']:,} short texts", round(part["seconds"] / 60, 2), 10, "<="))
        out.append(Goal(f"peak GB for {part['texts']:,} short texts", part["peak_gb"], 4, "<="))
    return out


def main() -> None:
    """Run the parts that were asked for and are not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object (always done)")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, help="other sizes, for one part")
    parser.add_argument("--state", type=Path, help="file that keeps the parts that are done")
    asked = parser.parse_args()
    if asked.sizes and len(asked.part) != 1:
        parser.error("--sizes goes with one --part")
    if not DATA.is_dir():
        parser.error(f"NOT MEASURED: no development sets at {DATA}; set STILLROOM_DATA to the folder that holds them")
    started = time.monotonic()
    done = json.loads(asked.state.read_text(encoding="utf-8")) if asked.state and asked.state.is_file() else {}
    for part in asked.part:
        sizes = asked.sizes or SIZES[part]
        if done.get(part, {}).get("sizes") != sizes:
            # a process of its own, so that peak memory is this part's
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                done[part] = {**alone.submit(PARTS[part], sizes).result(), "sizes": sizes}
            if asked.state:
                write_atomic(asked.state, json.dumps(done))
    emit(done, goals(done), started)


if __name__ == "__main__":
    main()
