"""The processes under test, started as in production, and the signals sent to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MLP = str(Path(sys.executable).with_name("mlp"))
CONCURRENT_RUNS = 4
CONCURRENT_STAGES = 3
LEASE_SECONDS = 1.5
LOST_AFTER_SECONDS = 1.0
STOP_SECONDS = 30.0
WRONG_SETTINGS = 78
"""Exit code for invalid settings, and for a start while the database is down."""


@dataclass
class Target:
    """``mlp`` with some arguments and a home of its own. When restarted, it is a new process of the same host."""

    home: Path
    database_url: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] = field(init=False)
    is_frozen: bool = False

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    def start(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.database_url,
            "MLP_HOME": str(self.home),
            "MAX_CONCURRENT_PIPELINES": str(CONCURRENT_RUNS),
            "MLP_MAX_CONCURRENT_STAGES": str(CONCURRENT_STAGES),
            "MLP_LEASE_SECONDS": str(LEASE_SECONDS),
            "MLP_LOST_AFTER_SECONDS": str(LOST_AFTER_SECONDS),
            "MLP_GRACE_SECONDS": "0.5",
            "MLP_DISK_RESERVE_BYTES": "0",
        }
        self.is_frozen = False
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([MLP, *self.arguments], env=env, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> subprocess.Popen[bytes]:
        """Suspend the process as if its host were: connections stay open and leases expire without it noticing."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_frozen = True
        return self.process

    def thaw(self, frozen: subprocess.Popen[bytes]) -> None:
        """Resume the process, unless it was killed meanwhile and replaced by another."""
        if self.process is frozen:
            self.process.send_signal(signal.SIGCONT)
            self.is_frozen = False

    def begin_stop(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()

    def end_stop(self) -> int:
        """Wait for the end, by SIGKILL after ``STOP_SECONDS``; returns the exit code."""
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode


class Runner:
    """The runner of one attempt, and maybe its guardian, held by pidfds: a signal never reaches a reused pid."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self._pidfds = [os.pidfd_open(pid) for pid in pids]

    def are_of(self, folder: Path) -> bool:
        """Whether the opened processes belong to the attempt in this folder."""
        return all(str(folder) in Path(f"/proc/{pid}/cmdline").read_text() for pid in self.pids)

    def send(self, number: signal.Signals) -> None:
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)

    def close(self) -> None:
        for pidfd in self._pidfds:
            os.close(pidfd)


def some_runner(homes: list[Path], lot: float, *, and_guardian: bool = False) -> Runner | None:
    """One of the active runners below these homes, with its guardian if ``and_guardian``; None if there is none."""
    locks = sorted(lock for home in homes for lock in home.glob("attempts/*/lock"))
    first = int(lot * len(locks))
    for lock in locks[first:] + locks[:first]:
        with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
            pid = json.loads(lock.read_text())["pid"]
            runner = Runner(psutil.Process(pid).ppid(), pid) if and_guardian else Runner(pid)
            if runner.are_of(lock.parent):
                return runner
            runner.close()
    return None


def processes_of(folder: Path) -> list[str]:
    """Command lines of every process that has this folder in its arguments or its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (path / "environ").read_bytes() + (path / "cmdline").read_bytes():
                found.append(f"{path.name}: {(path / 'cmdline').read_bytes().decode(errors='replace')}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
