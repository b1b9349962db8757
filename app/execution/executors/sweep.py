"""Kills the processes of an attempt whose shim is dead: finds them by the marker in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

MARKER = "MLP_ATTEMPT_ID"
PAUSE_SECONDS = 0.02
DEADLINE_SECONDS = 10


def kill_marked(attempt_id: str) -> int:
    """Kills all processes with the attempt's marker until none is left; returns their number.

    Raises TimeoutError if some are left after 10 s.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while marked := [process for process in psutil.process_iter() if _carries(process, attempt_id)]:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"processes of attempt {attempt_id} can't be killed: {[p.pid for p in marked]}"
            )
        for process in marked:
            _kill(process, attempt_id)
            killed.add(process.pid)
        time.sleep(PAUSE_SECONDS)
    return len(killed)


def _carries(process: psutil.Process, attempt_id: str) -> bool:
    try:
        return process.environ().get(MARKER) == attempt_id
    except psutil.Error:
        return False  # it has ended, or belongs to another user


def _kill(process: psutil.Process, attempt_id: str) -> None:
    """Checks the marker again after it has opened a pidfd: the pid may have been recycled."""
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(psutil.Error):
            process.kill()  # compares the start time first
        return
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if _carries(process, attempt_id):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
