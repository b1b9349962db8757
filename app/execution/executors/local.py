"""The executor which runs attempts on this machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import psutil
from anyio import to_thread

from app.domain.attempts import AttemptId
from app.execution.executors.base import AttemptResult, AttemptSpec, AttemptState
from app.execution.executors.shims import ShimProcesses
from app.execution.executors.sweep import MARKER, kill_marked
from app.runner import files
from app.runner.journal import JournalEvent, read_journal
from app.runner.lock import is_held, open_pidfd, take_lock

SITE_PATHS = [str(Path(psutil.__file__).parent.parent)]
POLL_SECONDS = 0.2
RESULT_LIMIT_BYTES = 64 << 10
_SHIMS = ShimProcesses()  # children belong to the process, not to one of its executor objects


class LocalExecutor:
    """Runs each attempt in a folder below ``root``, which must be on a local disk (flock)."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()  # a shim does not share the server's working directory

    def folder(self, attempt_id: str) -> Path:
        if AttemptId.parse(attempt_id) is None:
            raise ValueError(f"not an attempt id: {attempt_id!r}")
        return self._root / attempt_id

    async def prepare(self, attempt_id: str) -> Path:
        return await to_thread.run_sync(_make_folders, self.folder(attempt_id))

    async def launch(self, spec: AttemptSpec) -> AttemptState:
        return await to_thread.run_sync(self._launch, spec)

    async def state(self, attempt_id: str) -> AttemptState:
        return (await self.states([attempt_id]))[attempt_id]

    async def states(self, attempt_ids: Iterable[str]) -> dict[str, AttemptState]:
        return await to_thread.run_sync(self._states, list(attempt_ids))

    async def wait(self, attempt_id: str) -> AttemptState:
        while (state := await self.state(attempt_id)) is AttemptState.RUNNING:
            pidfd = self._open_shim(attempt_id)  # not in a thread: a cancelled task would leak it
            if pidfd is None:
                await anyio.sleep(POLL_SECONDS)  # in another PID namespace, or a platform without pidfds
                continue
            try:
                await anyio.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        return state

    async def journal(self, attempt_id: str, offset: int) -> tuple[list[JournalEvent], int]:
        return await to_thread.run_sync(read_journal, self.folder(attempt_id) / files.JOURNAL, offset)

    async def result(self, attempt_id: str) -> AttemptResult:
        return AttemptResult.from_json(await to_thread.run_sync(_result, self.folder(attempt_id)))

    async def cancel(self, attempt_id: str) -> None:
        await to_thread.run_sync(_cancel, self.folder(attempt_id))

    async def sweep(self, attempt_id: str) -> int:
        self.folder(attempt_id)
        return await to_thread.run_sync(kill_marked, attempt_id)

    async def forget(self, attempt_id: str) -> None:
        await to_thread.run_sync(self._forget, attempt_id)

    def _launch(self, spec: AttemptSpec) -> AttemptState:
        folder = _make_folders(self.folder(spec.attempt_id))
        lock = take_lock(str(folder / files.LOCK))
        if lock is None:
            return AttemptState.RUNNING
        try:
            state = _state_of_free(lock, folder)
            if state is AttemptState.NEW:
                # Under the lock: a loser of the race must not put the secrets back after the shim removed them.
                _write_spec(folder, spec)
                _SHIMS.start(folder, lock)
                state = AttemptState.RUNNING
            return state
        finally:
            os.close(lock)  # the shim has its own copy: the lock stays taken

    def _states(self, attempt_ids: list[str]) -> dict[str, AttemptState]:
        states = {attempt_id: _state(self.folder(attempt_id)) for attempt_id in attempt_ids}
        _SHIMS.reap()
        return states

    def _open_shim(self, attempt_id: str) -> int | None:
        """A pidfd of the shim. An own child needs no identity in the lock, which comes only after some ms."""
        folder = self.folder(attempt_id)
        return _SHIMS.open_pidfd(folder) or open_pidfd(str(folder / files.LOCK))

    def _forget(self, attempt_id: str) -> None:
        folder = self.folder(attempt_id)
        if _state(folder) is AttemptState.RUNNING:
            raise ValueError(f"attempt {attempt_id} is running")
        with contextlib.suppress(FileNotFoundError):
            try:
                _remove(folder)
            except PermissionError:
                _make_writable(folder)
                _remove(folder)
        _SHIMS.forget(folder)


def _make_folders(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in files.FOLDERS:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return folder


def _write_spec(folder: Path, spec: AttemptSpec) -> None:
    document = {
        "attemptId": spec.attempt_id,
        "argv": list(spec.argv),
        "env": {**spec.env, MARKER: spec.attempt_id},
        "cwd": str(spec.cwd),
        "timeoutSeconds": spec.timeout_seconds,
        "graceSeconds": spec.grace_seconds,
        "stragglerGraceSeconds": spec.straggler_grace_seconds,
        "logLimitBytes": spec.log_limit_bytes,
        "sampleIntervalSeconds": spec.sample_interval_seconds,
        "memoryLimitBytes": spec.memory_limit_bytes,
        "sitePaths": SITE_PATHS,
    }
    unfinished = folder / f"{files.SPEC}.tmp"
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(document))
    unfinished.replace(folder / files.SPEC)


def _state(folder: Path) -> AttemptState:
    lock = files.open_plain(folder / files.LOCK)
    if lock is None:
        return _state_without_lock(folder)
    try:
        return AttemptState.RUNNING if is_held(lock) else _state_of_free(lock, folder)
    finally:
        os.close(lock)


def _result(folder: Path) -> Any:
    descriptor = files.open_plain(folder / files.RESULT)
    if descriptor is None:
        raise FileNotFoundError(errno.ENOENT, "no result", str(folder / files.RESULT))
    with open(descriptor, "rb") as file:
        return json.loads(file.read(RESULT_LIMIT_BYTES))


def _state_without_lock(folder: Path) -> AttemptState:
    """Nothing was started, unless the stage has removed its own folder."""
    has_ended = _SHIMS.has_ended(folder)
    if has_ended is None:
        return AttemptState.NEW
    return AttemptState.LOST if has_ended else AttemptState.RUNNING


def _state_of_free(lock: int, folder: Path) -> AttemptState:
    """To be asked after the lock was seen free: a result can't appear any more."""
    if (folder / files.RESULT).exists():
        return AttemptState.DONE
    return AttemptState.LOST if os.fstat(lock).st_size else AttemptState.NEW


def _cancel(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _touch_durably(folder / files.CANCEL)
    finally:
        _ring(folder)


def _ring(folder: Path) -> None:
    """The doorbell of the shim, which is heard even where the stage keeps the file from being made."""
    pidfd = open_pidfd(str(folder / files.LOCK))
    if pidfd is None:
        return  # not running, or out of reach: the shim looks for the file twice a second
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    finally:
        os.close(pidfd)


def _touch_durably(path: Path) -> None:
    new = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    for name, flags in ((path, new), (path.parent, os.O_RDONLY)):
        descriptor = os.open(name, flags | os.O_CLOEXEC, 0o600)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    """The lock last: as long as it is there, half a folder can't be taken for an attempt which may be launched."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == files.LOCK):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()


def _make_writable(folder: Path) -> None:
    """The stage or the server may have made folders read-only. Links are never followed."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
