"""What living processes use. Imports psutil, so the shim imports this module when the first sample is due."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


class Usage:
    """Sums over processes. The I/O counters are None if none could be read."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.process_count = 0
        self.read_bytes: int | None = None
        self.write_bytes: int | None = None

    def add(self, process: psutil.Process) -> None:
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        times = process.cpu_times()
        self.cpu_seconds += times.user + times.system + times.children_user + times.children_system
        self.memory_bytes += process.memory_info().rss
        self.process_count += 1
        self._add_io(process)

    def _add_io(self, process: psutil.Process) -> None:
        try:
            counters = process.io_counters()
        except (psutil.AccessDenied, AttributeError):
            return  # a process that changed its user, or a platform without these counters
        self.read_bytes = (self.read_bytes or 0) + counters.read_bytes
        self.write_bytes = (self.write_bytes or 0) + counters.write_bytes


def measure(pids: Iterable[int]) -> Usage:
    usage = Usage()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                usage.add(process)
        except psutil.Error:
            continue  # it has ended
    return usage
