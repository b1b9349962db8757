"""Samples what the stage uses: CPU, memory, number of processes, bytes read and written."""

from __future__ import annotations

import sys

from app.runner.system import now_seconds, own_peak_memory_bytes
from app.runner.tree import ProcessTree, descendants

FIRST_PAUSE_SECONDS = 0.2
SHORTEST_RATE_SECONDS = 0.1
"""CPU time is counted in ticks of 10 ms: a rate over less than ten of them is too coarse."""


class Sampler:
    """Takes the samples of one stage and remembers the peaks.

    The first sample comes after 0.2 s, then the pause doubles up to ``interval_seconds``, so that a short stage has
    samples, too. A stage shorter than 0.2 s gets one sample at its end, from the counters of the kernel.
    """

    def __init__(self, tree: ProcessTree, interval_seconds: float, started_at: float) -> None:
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.peak_cpu_percent = 0.0
        self.peak_memory_bytes = 0
        self.peak_process_count = 0
        self._tree = tree
        self._interval_seconds = interval_seconds
        self._pause_seconds = min(FIRST_PAUSE_SECONDS, interval_seconds)
        self._cpu_percent: float | None = None
        self._rated_at = started_at
        self._rated_cpu_seconds = 0.0
        self._read_bytes: int | None = None
        self._write_bytes: int | None = None
        self.due_at = self._rated_at + self._pause_seconds

    def sample(self) -> dict[str, object] | None:
        """A sample of the tree, as the journal holds it; None if psutil can't be imported."""
        try:
            from app.runner.usage import measure
        except ImportError as error:
            sys.stderr.write(f"no samples: {error}\n")
            self.due_at = float("inf")
            return None
        usage = measure(descendants())
        now = now_seconds()
        self.due_at = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, self._interval_seconds)
        self._read_bytes = _larger(self._read_bytes, usage.read_bytes)
        self._write_bytes = _larger(self._write_bytes, usage.write_bytes)
        return self._record(now, usage.cpu_seconds, usage.memory_bytes, usage.process_count)

    def close(self) -> dict[str, object] | None:
        """Adds what the kernel counted up to the end; returns a sample if there was none before."""
        sampled = self._cpu_percent is not None
        peak_bytes = self._tree.main_peak_memory_bytes
        if sampled and peak_bytes <= own_peak_memory_bytes():
            peak_bytes = 0  # it includes what the forked shim used before it executed the command
        last = self._record(now_seconds(), 0.0, peak_bytes, 1)
        return None if sampled else last

    def _record(
        self, now: float, live_cpu_seconds: float, memory_bytes: int, processes: int
    ) -> dict[str, object]:
        # Never lower than before: when a process that ignores SIGCHLD ends, the times of its children are lost.
        self.cpu_seconds = max(self.cpu_seconds, live_cpu_seconds + self._tree.reaped_cpu_seconds)
        self.memory_bytes = memory_bytes
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory_bytes)
        self.peak_process_count = max(self.peak_process_count, processes)
        return {
            "cpuPercent": round(self._rate_cpu(now), 1),
            "cpuSeconds": round(self.cpu_seconds, 3),
            "memoryBytes": memory_bytes,
            "processCount": processes,
            "readBytes": self._read_bytes,
            "writeBytes": self._write_bytes,
        }

    def _rate_cpu(self, now: float) -> float:
        """CPU use since the last rate, in percent of one core. Too soon after it, the last rate is returned."""
        elapsed_seconds = now - self._rated_at
        if self._cpu_percent is None or elapsed_seconds >= SHORTEST_RATE_SECONDS:
            used_seconds = self.cpu_seconds - self._rated_cpu_seconds
            self._cpu_percent = 100 * used_seconds / max(elapsed_seconds, 0.001)
            self._rated_at, self._rated_cpu_seconds = now, self.cpu_seconds
            self.peak_cpu_percent = max(self.peak_cpu_percent, self._cpu_percent)
        return self._cpu_percent


def _larger(before: int | None, seen: int | None) -> int | None:
    """The larger sum: the counters of a process are lost when it ends."""
    return seen if before is None else max(before, seen or 0)
