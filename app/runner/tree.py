"""The processes below the shim: finding, signalling and reaping them until none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

HAS_CHILDREN_FILES = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class ProcessTree:
    """The stage's main process and everything it left behind.

    The shim is a subreaper, so a descendant whose parents died becomes its child: once the kernel says that the shim
    has no child, there is no descendant either. ``empty`` is that proof.
    """

    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
        self.main_status: int | None = None
        self.main_peak_memory_bytes = 0
        self.reaped_cpu_seconds = 0.0
        self.empty = False
        self._asked: set[int] = set()

    def reap(self) -> None:
        """Collect every process which has ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.empty = True
                return
            if pid == 0:
                return
            self.reaped_cpu_seconds += usage.ru_utime + usage.ru_stime
            if pid == self.main_pid:
                self.main_status = status
                self.main_peak_memory_bytes = usage.ru_maxrss * MAXRSS_UNIT_BYTES

    def terminate(self) -> None:
        """Ask each process once to end; a stopped one is continued so that it can hear."""
        for pid in descendants():
            if pid not in self._asked:
                self._asked.add(pid)
                _send(pid, signal.SIGTERM)
                _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill all; they are stopped first, else one may fork faster than it is found."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in descendants():
                _send(pid, number)


def descendants() -> list[int]:
    """Pids below this process. On Linux by one small file per thread: psutil would read every pid of the host."""
    if not HAS_CHILDREN_FILES:
        import psutil

        return [process.pid for process in psutil.Process().children(recursive=True)]
    found: list[int] = []
    waiting = _children(os.getpid())
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += _children(pid)
    return found


def name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has just ended; its children are the shim's now
    found: list[int] = []
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
