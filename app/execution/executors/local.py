"""The executor that runs attempts on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
from anyio import to_thread

from app.domain.attempts import METRICS_FILE, AttemptId
from app.domain.keys import to_json
from app.domain.units import BYTES_PER_MB
from app.execution.environment import file_variables, host_variables
from app.execution.executors.base import AttemptResult, AttemptSpec, AttemptState, OutputLimits
from app.execution.executors.local_files import make_folders, place_inputs, write_params
from app.execution.executors.local_outputs import LocalOutputs, list_outputs, read_log, store_log
from app.execution.executors.shims import ShimProcesses
from app.execution.executors.sweep import MARKER, kill_marked
from app.open_files import open_plain, read_plain
from app.runner import files
from app.runner.journal import JournalEvent, read_journal
from app.runner.lock import is_held, open_pidfd, take_lock
from app.services.logs import LogPart
from app.storage.base import ArtifactStore, StoredBlob

SITE_PATHS = [str(Path(psutil.__file__).parent.parent)]
POLL_SECONDS = 0.2
RESULT_LIMIT_BYTES = 64 << 10
_SHIMS = ShimProcesses()  # children belong to the process, not to an executor object


class LocalExecutor:
    """Implements ``Executor``: each attempt has a folder below ``root``, which must be on a local disk (flock)."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()  # the shim has another working directory than the server

    def folder(self, attempt_id: str) -> Path:
        """Where the files of the attempt are, whether it exists or not."""
        if AttemptId.parse(attempt_id) is None:
            raise ValueError(f"not an attempt id: {attempt_id!r}")
        return self._root / attempt_id

    async def prepare(self, spec: AttemptSpec, store: ArtifactStore) -> None:
        folder = self.folder(spec.attempt_id)
        await to_thread.run_sync(_prepare, folder, spec)
        await place_inputs(folder / files.INPUTS, spec.inputs, store)

    async def launch(self, spec: AttemptSpec) -> AttemptState:
        return await to_thread.run_sync(self._launch, spec)

    async def state(self, attempt_id: str) -> AttemptState:
        return await to_thread.run_sync(self._state, attempt_id)

    async def wait(self, attempt_id: str) -> AttemptState:
        while (state := await self.state(attempt_id)) is AttemptState.RUNNING:
            pidfd = self._open_shim(attempt_id)  # not in a thread: a cancelled task would leak the descriptor
            if pidfd is None:
                # The shim is in another PID namespace, or the platform has no pidfds.
                await anyio.sleep(POLL_SECONDS)
                continue
            try:
                await anyio.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        return state

    async def journal(self, attempt_id: str, offset: int) -> tuple[list[JournalEvent], int]:
        return await to_thread.run_sync(read_journal, self.folder(attempt_id) / files.JOURNAL, offset)

    async def metrics(self, attempt_id: str, offset: int, limit_bytes: int) -> bytes:
        path = self.folder(attempt_id) / METRICS_FILE
        return await to_thread.run_sync(read_plain, path, limit_bytes, offset)

    async def read_log(self, attempt_id: str, offset: int, max_bytes: int) -> LogPart | None:
        # In other threads than the rest: a thousand readers of logs do not delay the engine.
        return await asyncio.to_thread(read_log, self.folder(attempt_id), offset, max_bytes)

    async def result(self, attempt_id: str) -> AttemptResult:
        return AttemptResult.from_json(await to_thread.run_sync(_result, self.folder(attempt_id)))

    async def outputs(self, attempt_id: str, limits: OutputLimits) -> LocalOutputs:
        return await to_thread.run_sync(list_outputs, self.folder(attempt_id), limits)

    async def store_log(self, attempt_id: str, store: ArtifactStore) -> StoredBlob | None:
        return await store_log(self.folder(attempt_id), store)

    async def cancel(self, attempt_id: str) -> None:
        await to_thread.run_sync(_cancel, self.folder(attempt_id))

    async def sweep(self, attempt_id: str) -> int:
        self.folder(attempt_id)
        return await to_thread.run_sync(kill_marked, attempt_id)

    async def forget(self, attempt_id: str) -> None:
        await to_thread.run_sync(self._forget, attempt_id)

    async def leftovers(self, older_than_seconds: float = 0.0) -> list[str]:
        return await to_thread.run_sync(_leftovers, self._root, older_than_seconds)

    def _launch(self, spec: AttemptSpec) -> AttemptState:
        folder = make_folders(self.folder(spec.attempt_id))
        lock = take_lock(str(folder / files.LOCK))
        if lock is None:
            return AttemptState.RUNNING
        try:
            state = _state_of_free(lock, folder)
            if state is AttemptState.NEW:
                # Under the lock: the loser of a race must not write the secrets again after the shim has removed them.
                _write_spec(folder, spec)
                _SHIMS.start(folder, lock)
                state = AttemptState.RUNNING
            return state
        finally:
            os.close(lock)  # the shim has a copy of the descriptor, so the lock is still held

    def _state(self, attempt_id: str) -> AttemptState:
        state = _state(self.folder(attempt_id))
        _SHIMS.reap()
        return state

    def _open_shim(self, attempt_id: str) -> int | None:
        """A pidfd of the shim. A child of this process is opened before it has written its identity into the lock."""
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


def _prepare(folder: Path, spec: AttemptSpec) -> None:
    make_folders(folder)
    write_params(folder, spec.config.params)


def _write_spec(folder: Path, spec: AttemptSpec) -> None:
    config, memory_mb = spec.config, spec.config.resources.memory_mb
    env = {**host_variables(folder), **config.env, **file_variables(folder), MARKER: spec.attempt_id}
    document = {
        "attemptId": spec.attempt_id,
        "config": to_json(replace(config, env=env, workdir=config.workdir or str(folder / files.WORK))),
        "graceSeconds": spec.grace_seconds,
        "stragglerGraceSeconds": spec.straggler_grace_seconds,
        "logLimitBytes": spec.log_limit_bytes,
        "sampleIntervalSeconds": spec.sample_interval_seconds,
        "memoryLimitBytes": memory_mb and memory_mb * BYTES_PER_MB,
        "sitePaths": SITE_PATHS,
    }
    unfinished = folder / f"{files.SPEC}.tmp"
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(document))
    unfinished.replace(folder / files.SPEC)


def _state(folder: Path) -> AttemptState:
    opened = open_plain(folder / files.LOCK)
    if opened is None:
        return _state_without_lock(folder)
    lock, _ = opened
    try:
        return AttemptState.RUNNING if is_held(lock) else _state_of_free(lock, folder)
    finally:
        os.close(lock)


def _result(folder: Path) -> Any:
    opened = open_plain(folder / files.RESULT)
    if opened is None:
        raise FileNotFoundError(errno.ENOENT, "no result", str(folder / files.RESULT))
    with open(opened[0], "rb") as file:
        return json.loads(file.read(RESULT_LIMIT_BYTES))


def _state_without_lock(folder: Path) -> AttemptState:
    """The state of an attempt without a lock file: NEW, unless the stage has removed its own folder."""
    has_ended = _SHIMS.has_ended(folder)
    if has_ended is None:
        return AttemptState.NEW
    return AttemptState.LOST if has_ended else AttemptState.RUNNING


def _state_of_free(lock: int, folder: Path) -> AttemptState:
    """Call it after the lock was seen free: then no result can appear any more."""
    if (folder / files.RESULT).exists():
        return AttemptState.DONE
    # A shim holds its lock as long as it lives. If ours lives and the lock is free, the stage has replaced the file.
    is_replaced = _SHIMS.has_ended(folder) is False
    return AttemptState.LOST if is_replaced or os.fstat(lock).st_size else AttemptState.NEW


def _cancel(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _touch_durably(folder / files.CANCEL)
    finally:
        _signal_shim(folder)


def _signal_shim(folder: Path) -> None:
    """Cancels at once, even if the stage prevents the creation of the file."""
    pidfd = open_pidfd(str(folder / files.LOCK))
    if pidfd is None:
        return  # not running, or out of reach: the shim checks for the file twice a second
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


def _leftovers(root: Path, older_than_seconds: float) -> list[str]:
    found = [path for path in root.iterdir() if AttemptId.parse(path.name) is not None]
    if older_than_seconds:
        latest = time.time() - older_than_seconds
        found = [path for path in found if path.stat().st_mtime < latest]
    return [path.name for path in found]


def _remove(folder: Path) -> None:
    """Removes the lock last: while it exists, a partly removed folder does not look like a NEW attempt."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == files.LOCK):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()


def _make_writable(folder: Path) -> None:
    """Undoes read-only modes, which the stage or the server may have set. Follows no links."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
