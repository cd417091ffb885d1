"""On a real Ray cluster: the rows of one process, whichever machine or process is killed -9."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray_run
import scripted_world as world
from contracts.engine_contract import ask
from ray_cluster import RayCluster, cluster

from stillroom.engines import Engine, open_engine
from stillroom.engines.ray import RayEngine
from stillroom.errors import BadConfig, EngineBusy, ModelMissing
from stillroom.store import Store

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'stillroom[ray]'"
)
EMITTED = ("rows.jsonl", "rejects.jsonl", "contamination.jsonl")
KEY = "sk-not-a-key-0123456789abcdef"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For Ray's files: sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="sr-", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Iterator[RayCluster]:
    """A cluster of two nodes, `head` and `second`, which this process may join."""
    with cluster(folder) as made, pytest.MonkeyPatch.context() as patch:
        made.add("second", f"--address={made.address}")
        for name, value in made.environment.items():
            if name.startswith("RAY_"):
                patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the emission in one process without Ray."""
    folder = tmp_path_factory.mktemp("plain")
    ended = emission(folder / "run", folder / "log")
    assert ended.returncode == 0, ended.stderr
    return folder / "run"


def emission(run: Path, log: Path, where: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Emit in a process of its own, to its end."""
    command = [sys.executable, ray_run.__file__, str(run), str(log), where]
    told = {**os.environ, "PYTHONPATH": str(Path(ray_run.__file__).parent), **environment}
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=300)


def noted(log: Path, what: str) -> list[tuple[str, str]]:
    """(node, key) of all that was asked or answered, in order."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(node, key) for node, event, key in lines if event == what]


def same_rows(run: Path, plain: Path) -> bool:
    """Whether two runs have emitted the same bytes."""
    return all((run / name).read_bytes() == (plain / name).read_bytes() for name in EMITTED)


def eventually(true: Callable[[], object]) -> None:
    """Wait for what must come; two minutes are for ever."""
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


@pytest.fixture
def opened(nodes: RayCluster) -> Iterator[Callable[..., Engine]]:
    """Open an engine on the nodes; it is closed at the end, whatever happens."""
    with ExitStack() as stack:

        def make(
            opener: Callable[[], Engine] = world.engine, where: str = nodes.address, **settings: float
        ) -> RayEngine:
            return stack.enter_context(closing(RayEngine(opener, where, **settings)))

        yield make


def test_two_nodes_emit_what_one_process_emits(nodes: RayCluster, plain: Path, tmp_path: Path):
    """The same rows, rejects and findings to the byte; both nodes work, and no call is made twice."""
    ended = emission(tmp_path / "run", tmp_path / "log", nodes.address)
    assert ended.returncode == 0, ended.stderr
    assert same_rows(tmp_path / "run", plain)
    answered = noted(tmp_path / "log", "answered")
    assert {node for node, _ in answered} == {"head", "second"}
    assert set(Counter(key for _, key in answered).values()) == {1}
    with Store(tmp_path / "run") as store:
        assert store.row_totals()["accepted"] == 3 * ray_run.PER_LABEL
    eventually(lambda: nodes.workers() == 0)


def test_a_node_that_is_killed_costs_no_row_and_few_calls(nodes: RayCluster, plain: Path, tmp_path: Path):
    """It dies in the middle, kill -9 with all of its processes; what was under way there is asked again, and nothing else."""
    doomed = nodes.add("doomed", f"--address={nodes.address}", DIES_AT="60")
    ended = emission(tmp_path / "run", tmp_path / "log", nodes.address)
    assert ended.returncode == 0, ended.stderr
    assert doomed.process.wait(60) == -signal.SIGKILL
    assert same_rows(tmp_path / "run", plain)
    told = re.search(r"was lost; (\d+) requests under way there are asked again", ended.stderr)
    assert told, ended.stderr
    lost = int(told[1])
    assert 1 <= lost <= 3 * ray_run.AT_ONCE
    answered = noted(tmp_path / "log", "answered")
    assert sum(node == "doomed" for node, _ in answered) == 60
    twice = [key for key, count in Counter(key for _, key in answered).items() if count > 1]
    assert len(twice) <= lost
    assert all(("doomed", key) in answered for key in twice)
    asked = Counter(key for _, key in noted(tmp_path / "log", "asked"))
    assert sum(count - 1 for count in asked.values()) <= lost
    with Store(tmp_path / "run") as store:
        assert store.row_totals()["accepted"] == 3 * ray_run.PER_LABEL
        assert store.call_counts()["done"] == len(asked)
        assert store.call_counts()["twice"] == 0


def test_a_run_whose_process_is_killed_goes_on_from_its_store(nodes: RayCluster, plain: Path, tmp_path: Path):
    """Kill -9 from a node in the middle: nothing that was recorded is asked again, and its workers end."""
    deadly = nodes.add("deadly", f"--address={nodes.address}", KILLS_AT="60")
    killed = emission(tmp_path / "run", tmp_path / "log", nodes.address)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    deadly.kill()
    eventually(lambda: nodes.workers() == 0)
    with Store(tmp_path / "run") as store:
        recorded = {key for _, key in noted(tmp_path / "log", "answered") if store.find_call(key)}
    assert recorded
    ended = emission(tmp_path / "run", tmp_path / "again", nodes.address)
    assert ended.returncode == 0, ended.stderr
    assert same_rows(tmp_path / "run", plain)
    assert not recorded & {key for _, key in noted(tmp_path / "again", "asked")}


def test_a_cluster_that_was_joined_stays(nodes: RayCluster, opened):
    """Its nodes are as before, and another engine can be opened on them."""
    before = {process.pid for node in nodes.nodes for process in node.processes()}
    for _ in range(2):
        engine = opened()
        assert engine.complete(ask("the invoice and the refund")).text == "billing"
        engine.close()
    eventually(lambda: nodes.workers() == 0)
    left = {process.pid for node in nodes.nodes for process in node.processes()}
    assert len(before & left) >= 8  # daemons; the pools of idle workers come and go


def test_a_cluster_can_be_joined_from_outside(nodes: RayCluster, opened):
    """Through Ray's client, by a process on a machine that is no node of it."""
    for tries in range(3):
        try:
            engine = opened(where=nodes.client)
            break
        except EngineBusy:  # the server that Ray starts for each client dies at its start now and then
            if tries == 2:
                raise
    requests = [ask(f"the parcel {number}") for number in range(20)]
    assert engine.complete_many(requests) == world.engine().complete_many(requests)


def test_a_process_works_on_one_cluster(nodes: RayCluster, opened):
    """A second engine shares it, where a processor is free; another cluster is refused until the last has left."""
    first = opened()
    with pytest.raises(EngineBusy, match="must have a processor free"):
        opened(patience=0.5)  # all processors are taken
    with pytest.raises(BadConfig, match="one process works on one Ray cluster"):
        opened(where="127.0.0.1:1")
    assert first.complete(ask("the parcel")).text == "delivery"
    first.close()
    with pytest.raises(EngineBusy, match=r"a Ray cluster must answer at ray://127\.0\.0\.1:1, got") as failed:
        opened(where="ray://127.0.0.1:1")
    assert "ray start --head" in failed.value.mend
    assert opened().complete(ask("the parcel")).text == "delivery"


def by_node() -> Engine:
    """Another version of the model on each node."""
    return world.engine(version=os.environ["NODE"])


def missing() -> Engine:
    """A model file that only the first node has."""
    return world.engine() if os.environ["NODE"] == "head" else open_engine("local/no-such-model.gguf")


def test_what_differs_between_nodes_is_told_before_anything_is_asked(nodes: RayCluster, opened):
    """Another model, or none, on one of them."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.raises(
        BadConfig, match="all machines of the Ray cluster must have the same model, got scripted/world@"
    ):
        opened(by_node)
    with pytest.raises(ModelMissing, match=r"on \S+ \(\w{6}\): .*no-such-model"):
        opened(missing)
    eventually(lambda: nodes.workers() == 0)


def test_a_key_stands_in_no_log_and_no_command_line(nodes: RayCluster, opened, folder: Path):
    """It is handed over in memory, also when the engine fails."""
    engine = opened(partial(open_engine, "http://127.0.0.1:1/v1#tiny", api_key=KEY, retries=0))
    with pytest.raises(EngineBusy, match=r"on \S+ \(\w{6}\): endpoint must be reachable") as failed:
        engine.check()
    assert KEY not in str(failed.value)
    shown = [" ".join(process.cmdline()) for node in nodes.nodes for process in node.processes()]
    assert not [words for words in shown if KEY in words]
    engine.close()
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("worker" in path.name for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
ALONE = """
import sys, psutil
from stillroom.engines.ray import RayEngine
from contracts.engine_contract import ask
import scripted_world as world
if __name__ == "__main__":
    engine = RayEngine(world.engine, "ray")
    assert engine.complete(ask("the parcel")).text == "delivery"
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    if sys.argv[1] == "close":
        engine.close()
        print("left:", *psutil.Process().children(recursive=True), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("ending", ["close", "kill"])
def test_a_cluster_of_our_own_leaves_no_process(tmp_path: Path, ending: str):
    """Closed, or gone with the process that began it. Ray's own two agents take a minute to see that."""
    (tmp_path / "alone.py").write_text(ALONE)
    told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    told |= {"PYTHONPATH": str(Path(ray_run.__file__).parent), "HOME": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "alone.py"), ending]
    with subprocess.Popen(command, env=told, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) > 3
        if ending == "close":
            assert process.stdout.readline() == "left:\n"
        process.kill()
    eventually(lambda: not [pid for pid in pids if name_of(pid) not in {"", *(AGENTS if ending == "kill" else ())}])
    assert not (tmp_path / ".ray").exists()  # no token of a cluster that is no more


def name_of(pid: int) -> str:
    """The name of a process, or nothing if it has ended."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""
