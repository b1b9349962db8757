"""The lock of an attempt: an flock held by the shim from before the start until the result is durable.

The kernel releases it when the holder dies in any way. To probe it needs no right to send signals, and works across
PID namespaces. The identity in the file serves only to open a descriptor of the shim (pidfd): no process is ever
signalled by its bare pid.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from app.open_files import read_plain

LOCK_ATTEMPTS = 5
LOCK_PAUSE_SECONDS = 0.02
IDENTITY_BYTES = 4096


def take_lock(path: str) -> int | None:
    """The descriptor of the exclusive lock, or None if another process holds it.

    A probe holds the lock for microseconds, so one refusal proves nothing: tries 5 times, 20 ms apart.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE_SECONDS)
        if try_lock(descriptor):
            return descriptor
    os.close(descriptor)
    return None


def try_lock(descriptor: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file without waiting; returns whether that succeeded."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(descriptor: int) -> bool:
    """Whether another process holds the lock exclusively. Shared, so that probes do not disturb each other."""
    if not try_lock(descriptor, fcntl.LOCK_SH):
        return True
    # close() would not do: a fork in another thread may hold a copy of the descriptor.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def write_identity(descriptor: int) -> None:
    """Writes the identity of this process into the lock. From then on the attempt counts as started."""
    identity = {
        "pid": os.getpid(),
        "startTicks": _start_ticks(os.getpid()),
        "bootId": _boot_id(),
        "pidNamespace": _pid_namespace(),
    }
    os.pwrite(descriptor, json.dumps(identity).encode(), 0)


def open_pidfd(path: str) -> int | None:
    """A descriptor of the process whose identity is in the lock file; None if that process can't be reached.

    Call it after the lock was seen held. Compares the start time after it has opened the descriptor, so that a process
    with a recycled pid is not mistaken for the shim.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        identity = json.loads(read_plain(path, IDENTITY_BYTES))
        if identity["bootId"] != _boot_id() or identity["pidNamespace"] != _pid_namespace():
            return None
        pidfd = os.pidfd_open(identity["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if _start_ticks(identity["pid"]) != identity["startTicks"]:
        os.close(pidfd)
        return None
    return pidfd


def _start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (field 22 of its stat file)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None


def _boot_id() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return None


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None
