"""A running PostgreSQL server, identified by its data folder: find it, wait for it, stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_LOCK_FILE = "postmaster.pid"
_PID_LINE, _SOCKET_FOLDER_LINE, _STATUS_LINE = 0, 4, 7
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The main process of the PostgreSQL server of the folder ``data``."""

    process: psutil.Process
    data: Path

    def alive(self) -> bool:
        """Whether it is running. A zombie counts as ended."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until it accepts connections; False if it has ended or the timeout has passed."""
        deadline = time.monotonic() + timeout_seconds
        while self.alive() and time.monotonic() < deadline:
            if self._ready():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def socket_folder(self) -> Path:
        """The folder of its socket; known once the server is ready."""
        return Path(_lock_file_lines(self.data)[_SOCKET_FOLDER_LINE])

    def stop(self, timeout_seconds: float) -> bool:
        """Request a fast shutdown, which disconnects all clients; returns whether the server ended in time."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + timeout_seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return not self.alive()

    def _ready(self) -> bool:
        lines = _lock_file_lines(self.data)
        return (
            len(lines) > _STATUS_LINE
            and lines[_PID_LINE] == str(self.process.pid)
            and lines[_STATUS_LINE] == "ready"
        )


def find_postmaster(data: Path) -> Postmaster | None:
    """The server of this folder; None if the process in the lock file has ended, even if its pid was reused."""
    try:
        process = psutil.Process(int("".join(_lock_file_lines(data)[:1])))
        # By its command line: root in a container may not read the working folder of another user's process.
        serves_folder = process.name() == "postgres" and str(data) in process.cmdline()
    except (psutil.Error, ValueError):
        return None
    return Postmaster(process, data) if serves_folder else None


def disown_lock_file(data: Path) -> None:
    """Replace the pid in the lock file of a dead server by our own.

    PostgreSQL refuses to start while a process with the pid in the file exists, unless it is its own parent, and the
    pid of the dead server may be reused by another program. The file stays, because PostgreSQL also uses it to detect
    processes that remain of the dead server.
    """
    lines = _lock_file_lines(data)
    if lines:
        (data / _LOCK_FILE).write_text("\n".join([str(os.getpid()), *lines[1:], ""]))


def _lock_file_lines(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / _LOCK_FILE).read_text().splitlines()]
    except FileNotFoundError:
        return []
