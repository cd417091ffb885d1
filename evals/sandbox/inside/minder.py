"""The minder: runs one program as process 1 of namespaces made for it, watches it, and leaves nothing alive."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from typing import Any

from .kernel import NODEV, NOEXEC, NOSUID, PRIVATE, RDONLY, REC, mount
from .program import BOX, STARTED, Program

MARK = 16  # bytes of the mark that says a program came to its end
CONFINED = 4.0  # seconds in which a child must have given everything up
TICK = 0.02  # seconds between two looks at memory, processor time and processes
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


class Minder:
    """Runs one program and watches it. Its process is number 1 of the program's PID namespace."""

    def __init__(self, job: dict[str, Any], parent: int, bpf: bytes, uid: int | None) -> None:
        self.job, self.parent, self.bpf, self.uid = job, parent, bpf, uid
        self.limits = job["limits"]
        self.mark = os.urandom(MARK).hex().encode()
        self.texts: dict[int, bytearray] = {}
        self.killed: str | None = None

    def run(self) -> dict[str, Any]:
        """Run the program and say what became of it."""
        proc = self.fresh_mounts()
        pipes = [os.pipe() for _ in range(3)]  # stdout, stderr, result
        child = os.fork()
        if child == 0:
            Program(self.job, self.mark, self.bpf, self.uid).run([write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        out, err, result = (read for read, _ in pipes)
        self.texts = {out: bytearray(), err: bytearray(), result: bytearray()}
        if not self.confined(result):
            self.end_all()
            self.drain()
            return {"damaged": f"the program could not be confined: {self.texts[err].decode(errors='replace')[-500:]}"}
        started = time.monotonic()
        exited = self.watch(child, proc, started)
        seconds = time.monotonic() - started
        self.end_all()
        self.drain()
        finished, value = self.returned(bytes(self.texts[result]))
        return {
            "exit": exited,
            "killed_by": self.killed,
            "seconds": seconds,
            "stdout": self.texts[out].decode(errors="replace"),
            "stderr": self.texts[err].decode(errors="replace"),
            "finished": finished,
            "value": value,
        }

    def fresh_mounts(self) -> int:
        """Mount the program's folder, and a /proc that only the minder can reach; give the latter."""
        mount("", "/", "", REC | PRIVATE)
        mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # if the machine itself runs short, this goes first
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        mount("none", "/proc", "tmpfs", NOSUID | NODEV | NOEXEC | RDONLY, "size=4096,nr_inodes=2,mode=555")
        owner = "" if self.uid is None else f",uid={self.uid},gid={self.uid}"
        size = f"size={self.limits['file_mb']}m,nr_inodes=4096,mode=700{owner}"
        mount("none", BOX, "tmpfs", NOSUID | NODEV | NOEXEC, size)
        return proc

    def confined(self, result: int) -> bool:
        """Wait for the child's word that it has given everything up and is about to run the program."""
        ready, _, _ = select.select([result], [], [], CONFINED)
        return bool(ready) and os.read(result, 1) == STARTED

    def watch(self, child: int, proc: int, started: float) -> int:
        """Read the pipes until the program ends or crosses a limit; give its exit status."""
        handle = os.pidfd_open(child)
        poller = select.poll()
        for fd in (handle, *self.texts):
            poller.register(fd, select.POLLIN)
        poller.register(self.parent, 0)  # hang-ups are always told: if the parent is gone, so are we
        looked = started
        while True:
            left = started + self.limits["seconds"] - time.monotonic()
            ready = dict(poller.poll(max(0.0, min(TICK, left)) * 1000))
            if self.parent in ready:
                os._exit(71)
            for fd in [fd for fd in ready if fd in self.texts]:
                if not self.read(fd):
                    poller.unregister(fd)
            if handle in ready:
                break
            now = time.monotonic()
            if now - looked >= TICK:
                looked = now
                self.killed = self.killed or self.used(proc)
            if left <= 0:
                self.killed = self.killed or "time"
            if self.killed:
                os.kill(child, signal.SIGKILL)
                break
        exited = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if exited in (-signal.SIGXCPU, -signal.SIGKILL) and self.processor_time(proc) >= self.limits["cpu_seconds"]:
            self.killed = self.killed or "cpu"
        return exited

    def read(self, fd: int) -> bool:
        """Take what is in a pipe; False at its end. Too much output ends the program."""
        text = self.texts[fd]
        room = self.limits["output_bytes"] - sum(map(len, self.texts.values()))
        part = os.read(fd, min(1 << 16, room + 1))
        text += part[:room]
        if len(part) > room:
            self.killed = self.killed or "output"
        return bool(part) and not self.killed

    def drain(self) -> None:
        """Read what is left in the pipes; nobody is left to write into them."""
        for fd in self.texts:
            os.set_blocking(fd, False)
            while not self.killed:
                try:
                    if not self.read(fd):
                        break
                except BlockingIOError:
                    break

    def used(self, proc: int) -> str | None:
        """Look at all processes but ours; name the limit that they cross together, if any."""
        rows = self.rows(proc)
        if sum(int(row[17]) for row in rows.values()) > self.limits["processes"] + 4:
            return "processes"
        if self.memory(proc, rows) > self.limits["memory_mb"] << 20:
            return "memory"
        return "cpu" if self.processor_time(proc) > self.limits["cpu_seconds"] else None

    def rows(self, proc: int) -> dict[str, list[str]]:
        """Give the state of every process but this one, by its number."""
        return {pid: row for pid in os.listdir(proc) if pid.isdigit() and pid != "1" and (row := stat(proc, pid))}

    def memory(self, proc: int, rows: dict[str, list[str]]) -> int:
        """Give the bytes in use. Pages that processes share count once, which is worth working out only near the limit."""
        resident = {pid: int(row[21]) * PAGE for pid, row in rows.items()}
        if sum(resident.values()) <= self.limits["memory_mb"] << 20:
            return sum(resident.values())
        return sum(proportional(proc, pid, most) for pid, most in resident.items())

    def processor_time(self, proc: int) -> float:
        """Give the processor seconds of the program and its children, alive or reaped."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        alive = sum(int(ticks) for row in self.rows(proc).values() for ticks in row[11:15])
        return ended.ru_utime + ended.ru_stime + alive / TICKS

    def end_all(self) -> None:
        """Kill and reap everything in the namespace but this process."""
        try:
            while True:
                os.kill(-1, signal.SIGKILL)
                os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def returned(self, text: bytes) -> tuple[bool, str | None]:
        """Say whether the program came to its end, and what JSON it returned."""
        if self.killed or not text.startswith(self.mark):
            return False, None
        return True, text[len(self.mark) :].decode(errors="replace") or None


def stat(proc: int, pid: str) -> list[str] | None:
    """Fields 3 and on of /proc/PID/stat, or None for a process that has just gone."""
    text = read_file(proc, f"{pid}/stat")
    return text.rpartition(")")[2].split() if text else None


def proportional(proc: int, pid: str, otherwise: int) -> int:
    """Give the memory of one process in bytes, shared pages in shares (Pss); 0 if it has none any more."""
    try:
        text = read_file(proc, f"{pid}/smaps_rollup") or ""
    except PermissionError:
        return otherwise
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:")), 0)


def read_file(folder: int, path: str) -> str | None:
    """Read a short file of /proc, or None if its process has just gone."""
    try:
        fd = os.open(path, os.O_RDONLY, dir_fd=folder)
        try:
            return os.read(fd, 4096).decode(errors="replace")
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        return None
