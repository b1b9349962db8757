"""A running PostgreSQL as seen from its data folder: found, waited for, stopped."""

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
    """The main process of the PostgreSQL which serves the folder ``data``."""

    process: psutil.Process
    data: Path

    def alive(self) -> bool:
        """Whether it still runs; a process which nobody reaps counts as gone."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until it accepts connections; False when it ended instead or took too long."""
        deadline = time.monotonic() + timeout_seconds
        while self.alive() and time.monotonic() < deadline:
            if self._ready():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def socket_folder(self) -> Path:
        """The folder of its socket, known once it is ready."""
        return Path(_lock_file_lines(self.data)[_SOCKET_FOLDER_LINE])

    def stop(self, timeout_seconds: float) -> bool:
        """Ask for an orderly shutdown which disconnects its clients; whether that was over in time."""
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
    """The server of this folder. A lock file whose process is gone, or whose pid is in use again, is none."""
    try:
        process = psutil.Process(int("".join(_lock_file_lines(data)[:1])))
        # Judged by its command line: a container's root may not see another user's working folder.
        serves_folder = process.name() == "postgres" and str(data) in process.cmdline()
    except (psutil.Error, ValueError):
        return None
    return Postmaster(process, data) if serves_folder else None


def disown_lock_file(data: Path) -> None:
    """Write our own pid into the lock file of a dead server, whose pid another program may have by now.

    PostgreSQL refuses to start while the pid in the file exists, except for that of its own parent. The file
    itself stays, because PostgreSQL also uses it to look for orphans of the dead server which still write.
    """
    lines = _lock_file_lines(data)
    if lines:
        (data / _LOCK_FILE).write_text("\n".join([str(os.getpid()), *lines[1:], ""]))


def _lock_file_lines(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / _LOCK_FILE).read_text().splitlines()]
    except FileNotFoundError:
        return []
