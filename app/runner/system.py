"""What the shim needs from the kernel beyond ``os``: prctl, a clock which counts suspended time, OOM counters."""

from __future__ import annotations

import ctypes
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_seconds() -> float:
    """Seconds on the clock of all deadlines."""
    return time.clock_gettime(CLOCK)


def own_peak_memory_bytes() -> int:
    """The most resident memory this program has had; 0 where the kernel does not tell."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def become_subreaper() -> None:
    """Orphaned descendants become children of this process instead of init's, so that none can escape."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """The kernel kills this process when the thread which forked it ends; survives exec."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def oom_kills() -> tuple[int, int]:
    """How often the kernel has killed for memory: on this host, and in the own memory cgroup."""
    host = _counter("/proc/vmstat")
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            return host, _counter(f"/sys/fs/cgroup{path}/memory.events")
        if "memory" in controllers.split(","):
            return host, _counter(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    return host, 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _counter(path: str) -> int:
    for line in _read(path).splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
