"""What an attempt left in its folder on this machine: its output files and its captured log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from app.domain.attempts import STAGE_RESULT_FILE
from app.execution.executors.base import OutputLimits
from app.inspection.facts import Inspection
from app.inspection.inspector import inspect_files
from app.open_files import open_plain
from app.runner import files
from app.runner.outputs import OutputFile, walk_outputs
from app.services.logs import LogPart, start_of
from app.storage.base import ArtifactStore, StoredBlob


class LocalOutputs:
    """Implements ``AttemptOutputs`` for an attempt's folder."""

    def __init__(self, folder: Path, found: Sequence[OutputFile]) -> None:
        self._folder = folder
        self._by_path = {file.relative_path: file for file in found}

    @property
    def paths(self) -> Sequence[str]:
        return list(self._by_path)

    async def read(self, path: str, limit_bytes: int) -> bytes:
        return await to_thread.run_sync(_read, self._by_path[path], limit_bytes)

    async def store(self, path: str, store: ArtifactStore) -> StoredBlob:
        with self._by_path[path].opened() as fd:
            return await store.put_fd(fd)

    async def inspect(self, paths: Sequence[str]) -> list[Inspection]:
        found = await inspect_files([(self._folder / files.OUTPUTS / path, path) for path in paths])
        await to_thread.run_sync(self._require_unchanged, paths)
        return found

    async def stage_result(self, limit_bytes: int) -> bytes | None:
        return await to_thread.run_sync(_stage_result, self._folder, limit_bytes)

    def _require_unchanged(self, paths: Sequence[str]) -> None:
        """The inspection opened the files by their paths: proves that it saw those that were stored."""
        for path in paths:
            with self._by_path[path].opened():
                pass


def list_outputs(folder: Path, limits: OutputLimits) -> LocalOutputs:
    """Lists the output files of the attempt in ``folder``. Raises ``OutputRefused``."""
    walk = walk_outputs(
        folder / files.OUTPUTS,
        max_files=limits.files,
        max_bytes=limits.total_bytes,
        max_depth=limits.depth,
    )
    if walk.refusals:
        raise walk.refusals[0]
    return LocalOutputs(folder, walk.files)


async def store_log(folder: Path, store: ArtifactStore) -> StoredBlob | None:
    """Puts the captured log into the store; None if it is empty."""
    opened = open_plain(folder / files.LOG)
    if opened is None:
        return None
    fd, status = opened
    try:
        return await store.put_fd(fd) if status.st_size else None
    finally:
        os.close(fd)


def read_log(folder: Path, offset: int, max_bytes: int) -> LogPart | None:
    """Part of the captured log; None if there is no log."""
    opened = open_plain(folder / files.LOG)
    if opened is None:
        return None
    fd, status = opened
    try:
        start = start_of(offset, status.st_size)
        data = os.pread(fd, min(max_bytes, status.st_size - start), start)
        return LogPart(start, data, max(status.st_size, start + len(data)))
    finally:
        os.close(fd)


def _read(file: OutputFile, limit_bytes: int) -> bytes:
    with file.opened() as fd, open(fd, "rb", closefd=False) as stream:
        return stream.read(limit_bytes)


def _stage_result(folder: Path, limit_bytes: int) -> bytes | None:
    walk = walk_outputs(folder, max_files=64, max_bytes=1 << 62, max_depth=1)
    found = [file for file in walk.files if file.relative_path == STAGE_RESULT_FILE]
    return _read(found[0], limit_bytes) if found else None
