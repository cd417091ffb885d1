"""A Ray cluster of several nodes on this machine, small, without network, and gone when the test is over."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TESTS = Path(__file__).parent
RAY = Path(sys.executable).with_name("ray")


@dataclass(eq=False)
class RayNode:
    """One node: the process that minds it, and everything below."""

    process: subprocess.Popen[str]

    def processes(self) -> list[psutil.Process]:
        """All of it that is alive."""
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        return []

    def kill(self) -> None:
        """As if the machine lost its power."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass(eq=False)
class RayCluster:
    """Nodes with a processor each, which call themselves by the `NODE` in their environment."""

    folder: Path
    address: str
    client: str
    environment: dict[str, str]
    nodes: list[RayNode] = field(default_factory=list)

    def add(self, name: str, *words: str, **environment: str) -> RayNode:
        """Start a node; its workers see `environment`."""
        command = [str(RAY), "start", "--block", "--num-cpus=1", "--object-store-memory=80000000"]
        told = {**self.environment, "NODE": name, **environment}
        process = subprocess.Popen(
            [*command, *words], env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.nodes.append(RayNode(process))  # at once: what fails to start has begun processes too
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            raise RuntimeError("".join(said))
        return self.nodes[-1]

    def workers(self) -> int:
        """How many workers of ours there are on its nodes."""
        found = [process for node in self.nodes for process in node.processes()]
        return sum(any("ray::Worker" in word for word in _words(process)) for process in found)


@contextmanager
def cluster(folder: Path, **environment: str) -> Iterator[RayCluster]:
    """A cluster of one node, `head`; more can be added.

    Args:
        folder: For Ray's files; its path must be short.
        environment: Of the first node.
    """
    port, client = _free_port(), _free_port()
    told = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(TESTS),
    }
    made = RayCluster(folder, f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", told)
    try:
        made.add(
            "head",
            "--head",
            f"--port={port}",
            f"--ray-client-server-port={client}",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
            **environment,
        )
        yield made
    finally:
        for node in made.nodes:
            node.kill()


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
