"""The shims that are children of this server process: starts, watches and reaps them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import app.runner
from app.runner import files

SHIM = Path(app.runner.__file__).with_name("__main__.py")


class ShimProcesses:
    """Safe to use from many threads. Shims that an earlier server process started are not its children."""

    def __init__(self) -> None:
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self._ended: set[Path] = set()
        self._ending: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def start(self, folder: Path, lock: int) -> None:
        """Starts the shim of the attempt in ``folder``, which inherits the descriptor of the attempt's lock."""
        errors = os.open(
            folder / files.SHIM_ERRORS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            process = subprocess.Popen(
                [sys.executable, "-S", "-I", str(SHIM), str(folder), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd="/",
                env=_environment(),
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(errors)
        with self._lock:
            self._processes[folder] = process
            self._ended.discard(folder)

    def open_pidfd(self, folder: Path) -> int | None:
        """A descriptor that becomes readable when the shim ends; None if it is not a living child."""
        with self._lock:
            process = self._processes.get(folder)
            if process is None or process.poll() is not None or not hasattr(os, "pidfd_open"):
                return None
            return os.pidfd_open(process.pid)

    def has_ended(self, folder: Path) -> bool | None:
        """Whether the shim in ``folder`` has ended; None if this process has started none, or has forgotten it."""
        self.reap()
        with self._lock:
            return True if folder in self._ended else False if folder in self._processes else None

    def reap(self) -> None:
        """Reaps those that have ended, so that no zombies remain."""
        with self._lock:
            ended = [folder for folder, process in self._processes.items() if process.poll() is not None]
            for folder in ended:
                del self._processes[folder]
            self._ended.update(ended)
            self._ending = [process for process in self._ending if process.poll() is None]

    def forget(self, folder: Path) -> None:
        """Called when the attempt in ``folder`` has ended. Its shim may need another moment to end."""
        with self._lock:
            self._ended.discard(folder)
            if process := self._processes.pop(folder, None):
                self._ending.append(process)


def _environment() -> dict[str, str]:
    """Only what the interpreter may need to start: the server's environment holds secrets."""
    return {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
