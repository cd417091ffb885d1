"""A pool of texts on disk: near duplicates among millions of short texts, without holding them in memory.

Rows go into SQLite; one number a band of their signatures goes into a flat file beside it.
Among the rows of one `add`, the order they come in does not matter: they are decided in
the order of a seeded hash of their text, and one is dropped only where it is near a text
that was kept. What an earlier `add` kept stays.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from stillroom.errors import BadData, FingerprintChanged

from .duplicates import Match, folded
from .minhash import Bands, jaccard, shingles

__all__ = ["Added", "Pool", "without_copies"]

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_CHUNK = 16384
_TABLES = """
create table if not exists about (name text not null);
create table if not exists rows (
    n integer primary key, id text not null unique, text text not null, hash blob not null,
    copy_of integer, similarity real, rule text, settled integer not null default 0
);
create index if not exists rows_by_hash on rows (hash, id);
"""


@dataclass(frozen=True)
class Added:
    """What became of the rows of one `add`.

    Attributes:
        kept: New texts.
        exact: Copies after folding.
        near: Near copies of a kept text.
        known: Rows that were in the pool before, with the same id and text.
        compared: Pairs of texts that were compared in full.
    """

    kept: int
    exact: int
    near: int
    known: int
    compared: int


class Pool:
    """Rows on disk, each kept or a copy of a kept one.

    Args:
        folder: Where it lies; a temporary one that goes with the pool when None.
        bands: Which texts are near, and how surely they are found.

    Raises:
        FingerprintChanged: If the folder holds a pool that was made with other settings.
    """

    def __init__(self, folder: Path | str | None = None, *, bands: Bands | None = None) -> None:
        self.bands = Bands() if bands is None else bands
        self._temporary = tempfile.TemporaryDirectory(prefix="stillroom-pool-") if folder is None else None
        self._folder = Path(self._temporary.name if self._temporary is not None else str(folder))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keys = self._folder / "bands.u64"
        self._bytes = self._folder / "signatures.u8"
        self._db = sqlite3.connect(self._folder / "pool.db", isolation_level=None)
        if self._temporary is not None:  # nobody comes back to it after a crash
            self._db.execute("pragma synchronous = off")
        self._db.executescript(_TABLES)
        self._check_name()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many rows were added, kept or not."""
        return int(self._db.execute("select count(*) from rows").fetchone()[0])

    @property
    def name(self) -> str:
        """Every setting in one string."""
        return f"pool({self.bands.name})"

    def close(self) -> None:
        """Close the files; a temporary folder is removed."""
        self._db.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def add(self, rows: Iterable[tuple[str, str]]) -> Added:
        """Add (id, text) and decide on them. All or nothing: an interrupted call leaves the pool as it was.

        `rows` is read once, some thousands at a time.

        Raises:
            BadData: If an id comes with two texts.
        """
        self._db.execute("begin immediate")
        try:
            start = len(self)
            known = self._store(iter(rows), start)
            compared = self._settle(start)
            found = dict(
                self._db.execute("select coalesce(rule, ''), count(*) from rows where n >= ? group by 1", (start,))
            )
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        return Added(found.get("", 0), found.get("exact", 0), found.get("minhash", 0), known, compared)

    def kept(self) -> Iterator[tuple[str, str]]:
        """Give id and text of the kept rows, in the order they were added."""
        yield from self._db.execute("select id, text from rows where rule is null order by n")

    def dropped(self) -> Iterator[tuple[str, Match]]:
        """Give each copy's id and the kept row that it is a copy of."""
        query = "select a.id, b.id, a.similarity, a.rule from rows a join rows b on b.n = a.copy_of order by a.n"
        for id, other, similarity, rule in self._db.execute(query):
            yield id, Match(other, similarity, rule)

    def _check_name(self) -> None:
        made = self._db.execute("select name from about").fetchone()
        if made is None:
            self._db.execute("insert into about values (?)", (self.name,))
        elif made[0] != self.name:
            self._db.close()
            raise FingerprintChanged(
                f"a pool keeps its settings, got {self.name} for one made as {made[0]}",
                mend="Open it with the settings it was made with, or give another folder.",
            )

    def _store(self, rows: Iterator[tuple[str, str]], start: int) -> int:
        known, at = 0, start
        with (
            self._opened(self._keys, start * self.bands.count * 8) as keys,
            self._opened(self._bytes, start * self.bands.permutations) as signatures,
        ):
            while chunk := list(islice(rows, _CHUNK)):
                fresh = self._fresh(chunk)
                known += len(chunk) - len(fresh)
                for file, array in zip((keys, signatures), self.bands.sign([text for _, text in fresh]), strict=True):
                    file.write(np.ascontiguousarray(array).tobytes())
                stored = ((at + i, id, text, self._hash(text)) for i, (id, text) in enumerate(fresh))
                self._db.executemany("insert into rows (n, id, text, hash) values (?, ?, ?, ?)", stored)
                at += len(fresh)
        return known

    def _opened(self, path: Path, size: int) -> BinaryIO:
        file = path.open("r+b" if path.exists() else "w+b")
        file.truncate(size)  # what lies behind was left by a call that did not end
        file.seek(0, 2)
        return file

    def _fresh(self, chunk: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        new: dict[str, str] = {}
        for id, text in chunk:
            row = self._db.execute("select text from rows where id = ?", (id,)).fetchone()
            before = row[0] if row is not None else new.get(id)
            if before is not None and before != text:
                raise BadData(f"an id must stand for one text, got two for {id!r}: {before[:60]!r} and {text[:60]!r}")
            if row is None:
                new[id] = text
        return list(new.items())

    def _hash(self, text: str) -> bytes:
        seed = self.bands.seed.to_bytes(8, "big")
        return hashlib.blake2b(folded(text).encode("utf-8", "surrogatepass"), digest_size=16, key=seed).digest()

    def _settle(self, start: int) -> int:
        """Decide on the rows from number `start` on; return how many pairs were compared in full."""
        self._drop_exact(start)
        # kept rows first, then the new ones by their hash: an order that the rows' own does not change
        query = "select n from rows where rule is null order by settled desc, hash"
        order = np.fromiter((n for (n,) in self._db.execute(query)), dtype=np.int64)
        if not len(order):
            return 0
        signatures = np.memmap(self._bytes, dtype=np.uint8, mode="r").reshape(-1, self.bands.permutations)
        greedy = _Greedy(self.bands, signatures, lru_cache(maxsize=20_000)(self._shingles))
        copies = greedy.run(_meetings(self._keys, self.bands.count, order), start)
        self._db.executemany("update rows set rule = 'minhash', copy_of = ?, similarity = ? where n = ?", copies)
        self._db.execute("update rows set settled = 1 where n >= ?", (start,))
        return greedy.compared

    def _drop_exact(self, start: int) -> None:
        # of equal texts the earlier settled one stays, else the one with the smallest id
        self._db.execute(
            """
            update rows set rule = 'exact', similarity = 1.0, copy_of = first.n
            from (
                select n, hash, row_number() over (partition by hash order by settled desc, rule is not null, id) as place
                from rows
            ) as first
            where first.place = 1 and first.hash = rows.hash and rows.n >= ? and first.n != rows.n
            """,
            (start,),
        )
        # a copy of a text that was itself dropped earlier points to what that one is a copy of
        self._db.execute(
            """
            update rows set copy_of = other.copy_of, similarity = other.similarity, rule = other.rule
            from rows as other
            where other.n = rows.copy_of and other.copy_of is not null and rows.n >= ?
            """,
            (start,),
        )

    def _shingles(self, n: int) -> frozenset[str]:
        text = self._db.execute("select text from rows where n = ?", (n,)).fetchone()[0]
        return shingles(text, self.bands.width)


class _Greedy:
    """Keeps rows in order, save those near a kept one."""

    def __init__(
        self, bands: Bands, signatures: np.ndarray[Any, Any], shingles_of: Callable[[int], frozenset[str]]
    ) -> None:
        self._least, self._floor, self._shingles = bands.least, bands.floor(), shingles_of
        self._signatures = signatures
        self.compared = 0

    def run(self, meetings: Iterable[tuple[int, list[int]]], start: int) -> Iterator[tuple[int, float, int]]:
        """Give (copied row, similarity, row) for each near copy among rows from `start` on."""
        holders: dict[int, list[int]] = {}
        for row, labels in meetings:
            if row >= start:
                # in the order of their labels, which hang on texts alone: of equals the same one is named
                met = list(dict.fromkeys(n for label in labels for n in holders.get(label, ())))
                found = self._closest(row, met) if met else None
                if found is not None:
                    yield found[1], found[0], row
                    continue
            for label in labels:
                holders.setdefault(label, []).append(row)

    def _closest(self, row: int, kept: list[int]) -> tuple[float, int] | None:
        agree = (self._signatures[kept] == self._signatures[row]).sum(axis=1)
        likely = [n for n, equal in zip(kept, agree.tolist(), strict=True) if equal >= self._floor]
        self.compared += len(likely)
        best: tuple[float, int] | None = None
        for other in likely:
            similarity = jaccard(self._shingles(row), self._shingles(other))
            if similarity >= self._least and (best is None or similarity > best[0]):
                best = (similarity, other)
        return best


def _meetings(path: Path, count: int, order: Ints) -> Iterator[tuple[int, list[int]]]:
    """Give the rows that meet others, in `order`, each with the labels of the places where it does."""
    if not len(order) or not path.stat().st_size:
        return
    keys = np.memmap(path, dtype=np.uint64, mode="r").reshape(-1, count)
    places: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    labels: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    given = 0
    for band in range(count):
        column = np.ascontiguousarray(keys[:, band])[order]
        by = np.argsort(column, kind="stable")
        rising = column[by]
        starts = np.concatenate([[True], rising[1:] != rising[:-1]])
        alone = starts & np.concatenate([starts[1:], [True]])
        numbers = np.cumsum(starts & ~alone) + given - 1
        places.append(by[~alone].astype(np.int32))
        labels.append(numbers[~alone].astype(np.int32))
        given = int(numbers[-1]) + 1
    del keys
    place, label = np.concatenate(places), np.concatenate(labels)
    places, labels = [], []
    by = np.argsort(place, kind="stable")
    place, label = place[by], label[by]
    starts = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]])) if len(place) else np.zeros(0, dtype=int)
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(place)], strict=False):
        yield int(order[place[begin]]), label[begin:end].tolist()


def without_copies(texts: Sequence[str], *, bands: Bands | None = None) -> list[Match | None]:
    """Find the near copies among `texts`: None where kept, else the kept text, its position as id.

    The kept texts are the same whatever the order of `texts` (of equal ones the first stays).
    """
    width = len(str(len(texts)))
    with closing(Pool(bands=bands)) as pool:
        pool.add((f"{at:0{width}}", text) for at, text in enumerate(texts))
        found = {int(id): match for id, match in pool.dropped()}
    return [
        None if (match := found.get(at)) is None else Match(str(int(match.other_id)), match.similarity, match.rule)
        for at in range(len(texts))
    ]
