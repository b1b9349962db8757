"""Workers as real processes, each with a home of its own, and what can be done to them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

MLP = str(Path(sys.executable).with_name("mlp"))
CONCURRENT_RUNS = 4
LEASE_SECONDS = 1
LOST_AFTER_SECONDS = 1


@dataclass
class WorkerProcess:
    """``mlp work`` on a home; started again, it is another process on the same host."""

    home: Path
    database_url: str
    process: subprocess.Popen[bytes] = field(init=False)
    is_stopped: bool = False

    def start(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.database_url,
            "MLP_HOME": str(self.home),
            "MAX_CONCURRENT_PIPELINES": str(CONCURRENT_RUNS),
            "MLP_MAX_CONCURRENT_STAGES": "3",
            "MLP_LEASE_SECONDS": str(LEASE_SECONDS),
            "MLP_LOST_AFTER_SECONDS": str(LOST_AFTER_SECONDS),
            "MLP_GRACE_SECONDS": "0.5",
            "MLP_DISK_RESERVE_BYTES": "0",
        }
        with (self.home.parent / f"{self.home.name}.log").open("ab") as log:
            self.process = subprocess.Popen([MLP, "work"], env=env, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.is_stopped = False

    def stop(self) -> None:
        """As if the host had frozen: its leases run out and it does not know."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def kill_runner(self, pick: random.Random) -> bool:
        """SIGKILL for the runner of one of its attempts; False when none runs."""
        locks = sorted(self.home.glob("attempts/*/lock"))
        pick.shuffle(locks)
        for lock in locks:
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = json.loads(lock.read_text())["pid"]
                if str(lock.parent) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def end(self) -> None:
        if self.process.poll() is None:
            self.go_on()
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


def processes_of(folder: Path) -> list[str]:
    """Command lines of every process that a worker below this folder started, directly or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (path / "environ").read_bytes() + (path / "cmdline").read_bytes():
                found.append(f"{path.name}: {(path / 'cmdline').read_text()}")
    return found
