"""What the shim needs from the kernel beyond ``os``: prctl, a clock that counts suspended time, OOM counters."""

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
    """The largest resident memory of this process so far; 0 if the kernel does not report it."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def become_subreaper() -> None:
    """Makes orphaned descendants children of this process instead of init, so that none escapes."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Lets the kernel kill this process when the thread that forked it ends; stays in effect after exec."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def oom_kills() -> tuple[int, int]:
    """Processes that the kernel has killed for memory: on this host, and in the memory cgroup of this process."""
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
