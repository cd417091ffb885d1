"""Every kind of bad input: one line with rule and value, how to mend it, an exit code, and no call made."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import scripted_world as world
from scripted_cli import write_task

GOOD = world.rows(72)


def refused(told, code: int, *parts: str) -> None:
    """One rule with the value, how to mend it, no traceback; the same as JSON has no more words."""
    assert told.code == code, told.err
    lines = told.errors
    assert all(part in "\n".join(lines[:-1]) for part in parts), told.err
    assert lines[-1].startswith("  mend: ")
    assert "Traceback" not in told.err
    assert told.out == ""


def changed(**values: object) -> list[dict[str, object]]:
    """Good rows, the last one with other values."""
    return [*GOOD[:-1], {**GOOD[-1], **values}]


BAD_ROWS = {
    "wrong column": ([{"text": row["message"], "topic": row["topic"]} for row in GOOD], "column 'message' is missing"),
    "wrong type": (changed(message=5), "5 is not of type 'string'"),
    "unknown label": (changed(topic="weather"), "'weather' is not one of"),
    "3 rows": (GOOD[:3], "got"),
}


@pytest.mark.usefixtures("model")
class TestRows:
    """Rows that break a rule are refused before anything is called."""

    @pytest.mark.parametrize("case", BAD_ROWS)
    def test_bad_rows(self, cli, tmp_path: Path, calls, case: str):
        """The rule, the value, the row."""
        rows, part = BAD_ROWS[case]
        refused(cli("compile", write_task(tmp_path, rows=rows)), 2, part)
        assert not calls()
        assert not Path("runs").exists()

    def test_every_problem_is_listed(self, cli, tmp_path: Path):
        """As JSON: the rule is one line, the problems are a list of all of them."""
        rows = [{**row, "topic": "weather"} for row in GOOD[:30]]
        told = cli("compile", write_task(tmp_path, rows=rows), "--json")
        assert told.code == 2
        error = told.json["error"]
        assert set(error) == {"type", "rule", "mend", "problems"}
        assert error["type"] == "BadData"
        assert "\n" not in error["rule"]
        assert len(error["problems"]) == 30

    @pytest.mark.parametrize(
        ("name", "content", "part"),
        [
            ("empty.jsonl", b"", "empty file 'empty.jsonl'"),
            (
                "latin.jsonl",
                '{"message": "Gr\xfc\xdfe", "topic": "billing"}\n'.encode("latin-1"),
                "UTF-8, got byte 0xfc at line 1",
            ),
            ("no.jsonl", b"message,topic\n", "line 1 of no.jsonl must be one JSON object"),
        ],
    )
    def test_bad_files(self, cli, tmp_path: Path, calls, name: str, content: bytes, part: str):
        """Files that hold no rows, or no text."""
        (tmp_path / name).write_bytes(content)
        refused(cli("compile", write_task(tmp_path, data=name)), 2, part)
        assert not calls()

    def test_a_line_of_50_mb(self, cli, tmp_path: Path, calls):
        """A broken file is not read into memory to find out."""
        with (tmp_path / "long.jsonl").open("wb") as file:
            file.write(b'{"message": "')
            file.truncate(50_000_000)
        refused(cli("compile", write_task(tmp_path, data="long.jsonl")), 2, "longer one at line 1 of long.jsonl")
        assert not calls()

    def test_no_such_data_file(self, cli, tmp_path: Path):
        """The path is named."""
        refused(cli("compile", write_task(tmp_path, data="nowhere.jsonl")), 2, "nowhere.jsonl")


class TestTaskFiles:
    """A task file that cannot be used."""

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("x = 1\n", ("must define `task`",)),
            ("task = 3\n", ("`task` in", "must be a stillroom.Task, got 3")),
            ("import nowhere_at_all\n", ("ModuleNotFoundError at", "broken.py:1", "nowhere_at_all")),
            ("x = 1\n\ny = x / 0\n", ("ZeroDivisionError at", "broken.py:3")),
            ("x = (1\n", ("SyntaxError at", "broken.py:1")),
            ("import sys\nsys.exit(0)\n", ("SystemExit at", "broken.py:2")),
        ],
    )
    def test_text(self, cli, tmp_path: Path, text: str, parts: tuple[str, ...]):
        """What is wrong and in which line."""
        (tmp_path / "broken.py").write_text(text)
        refused(cli("compile", tmp_path / "broken.py"), 2, *parts)

    @pytest.mark.parametrize(
        ("line", "part"),
        [
            ("lm = 5", "`lm`"),
            ("budget = 100", "must be a stillroom.Budget, got 100"),
            ("students = ('gpt',)", "got 'gpt'"),
            ("gates = ['schema']", "must be a list of gates, got 'schema'"),
            ("recipe = 50", "`recipe`"),
        ],
    )
    def test_other_names(self, cli, tmp_path: Path, line: str, part: str):
        """A name that holds something of another kind."""
        refused(cli("compile", write_task(tmp_path, f"{line}\n")), 2, part)

    @pytest.mark.parametrize("name", ["nowhere.py", "rows.jsonl", "."])
    def test_paths(self, cli, task: Path, name: str):
        """No file, no Python file, no file but a folder."""
        refused(cli("compile", name), 2, "a task file must", repr(name))

    def test_options(self, cli, task: Path):
        """Mistakes in options are told like all others, also as JSON."""
        refused(cli("compile", task, "--calls", "many"), 2, "--calls", "many")
        refused(cli("compile", task, "--calls", "-5"), 2, "budget calls must be a number >= 0, got -5")
        refused(cli("distil", task, "--student", "gpt"), 2, "got 'gpt'")
        assert cli("comple", "--json").json["error"]["type"] == "BadConfig"


class Refusing(BaseHTTPRequestHandler):
    """Refuse every key, and remember what was asked."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self._refuse()

    def do_POST(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        body = b'{"error": {"message": "Incorrect API key provided"}}'
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep quiet."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint on this machine that accepts no key."""
    Refusing.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1#tiny"
    server.shutdown()
    thread.join()
    server.server_close()


class TestModels:
    """A model that cannot be had is found out before anything is paid for."""

    def test_an_unreachable_endpoint(self, cli, task: Path):
        """Nothing listens there."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            refused(cli("compile", task, "--lm", f"http://127.0.0.1:{port}/v1#tiny"), 5, f"127.0.0.1:{port}")
        assert not Path("runs").exists()

    def test_a_wrong_key(self, cli, task: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch):
        """One free question is asked, no chat; the key is not shown."""
        monkeypatch.setenv("STILLROOM_HTTP_KEY", "sk-secret-0123456789")
        told = cli("compile", task, "--lm", endpoint)
        refused(told, 5, "401", "Incorrect API key")
        assert Refusing.asked == ["GET /v1/models"]
        assert "sk-secret" not in told.err
        assert not Path("runs").exists()

    def test_a_missing_model(self, cli, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Its file is not here: how to fetch it is said."""
        monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("STILLROOM_MODEL_QWEN2_5_CODER_1_5B", raising=False)
        told = cli("compile", task)
        refused(told, 2, "'qwen2.5-coder-1.5b' is not on this machine")
        assert "stillroom models pull qwen2.5-coder-1.5b" in told.errors[-1]

    def test_an_embedder_that_emission_will_need(
        self, cli, task: Path, model, calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """`run` looks for all its model files before it pays for the first call."""
        monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("STILLROOM_MODEL_MINILM", raising=False)
        refused(cli("run", task), 2, "'minilm' is not on this machine")
        assert not calls()

    def test_an_unknown_model(self, cli, task: Path):
        """The known names are given."""
        refused(cli("compile", task, "--lm", "local/qwen9"), 2, "'qwen9'")


@pytest.mark.usefixtures("model")
class TestRunFolders:
    """A run folder that cannot be used, and a budget that is full."""

    def test_a_folder_that_cannot_be_written(self, cli, task: Path, tmp_path: Path, calls):
        """Under a regular file no folder can be made, whoever asks."""
        (tmp_path / "file").write_text("")
        refused(cli("compile", task, "--run", tmp_path / "file" / "run"), 3, "run folder must be writable", "file/run")
        assert not calls()

    def test_a_file_in_place_of_the_folder(self, cli, task: Path, tmp_path: Path, calls):
        """The run folder is a file."""
        (tmp_path / "file").write_text("")
        refused(cli("compile", task, "--run", tmp_path / "file"), 3, "run folder must be writable", "file")
        assert not calls()

    def test_two_processes_on_one_run(self, cli, task: Path, tmp_path: Path, calls):
        """The second is refused at once and told who holds the run; when the first has ended it may go on."""
        code = (
            "import sys; from stillroom.store import Store; s = Store(sys.argv[1]); print(flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "run")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            told = cli("compile", task, "--run", tmp_path / "run")
            refused(told, 3, "one process at a time", f"process {other.pid}")
            assert not calls()
            other.stdin.close()
        assert cli("compile", task, "--run", tmp_path / "run").code == 0

    def test_a_budget_too_small_to_begin(self, cli, task: Path, calls):
        """Less than one call for each search row."""
        refused(cli("compile", task, "--calls", 3), 2, "got a budget of 3 calls")
        assert not calls()

    def test_a_full_budget_loses_nothing(self, cli, task: Path, calls):
        """Emission ends with 4 when its calls are used up; with more it goes on and repeats none."""
        cli("compile", task)
        before = len(calls())
        told = cli("emit", task, "--calls", 5)
        refused(told, 4, "budget of 5 calls is full: 5 spent")
        assert len(calls()) == before + 5
        assert cli("emit", task).code == 0
        assert len(set(calls())) == len(calls())


@pytest.mark.usefixtures("model")
def test_what_data_and_models_say_cannot_act_on_the_terminal(cli, tmp_path: Path):
    """An escape sequence in a label reaches the terminal spelled out, and JSON as an escape."""
    rows = changed(topic="\x1b]0;owned\x07\u202eweather")
    told = cli("compile", write_task(tmp_path, rows=rows))
    assert told.code == 2
    assert "\x1b" not in told.err
    assert "\u202e" not in told.err
    assert "owned" in told.err
    out = cli("compile", write_task(tmp_path, rows=rows), "--json").out
    assert "\x1b" not in out
    assert out.isascii()
    assert "owned" in json.loads(out)["error"]["problems"][0]


def test_a_terminal_without_utf_8_ends_no_command(tmp_path: Path):
    """What the terminal cannot spell is spelled out."""
    (tmp_path / "t.py").write_text("raise ValueError('Gr\u00fc\u00dfe \u2713')\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "stillroom.cli", "compile", str(tmp_path / "t.py")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"error: a task file must run" in done.stderr
    assert b"\\xfc" in done.stderr
