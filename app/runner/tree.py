"""The processes below the shim: finding, signalling and reaping them until none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

HAS_CHILDREN_FILES = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class ProcessTree:
    """The stage's main process and its descendants.

    The shim is a subreaper: a descendant whose parents died becomes its child. When the kernel reports that the shim
    has no child, it has no descendant either; then ``empty`` is true.
    """

    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
        self.main_status: int | None = None
        self.main_peak_memory_bytes = 0
        self.reaped_cpu_seconds = 0.0
        self.empty = False
        self._terminated: set[int] = set()

    def reap(self) -> None:
        """Collects every process that has ended."""
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
        """Sends SIGTERM to each process once, and SIGCONT, so that a stopped process receives it."""
        for pid in descendants():
            if pid not in self._terminated:
                self._terminated.add(pid)
                _send(pid, signal.SIGTERM)
                _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kills all processes. Stops them first, else one may fork faster than it is found."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in descendants():
                _send(pid, number)


def descendants() -> list[int]:
    """Pids of all descendants. On Linux it reads one small file per thread; psutil would read every pid of the host."""
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
        return []  # it has just ended, and its children are the shim's
    found: list[int] = []
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
