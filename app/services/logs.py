"""Reads what a stage printed: from the attempt's folder while it is there, afterwards from the stored artifact."""

from __future__ import annotations

import asyncio
import codecs
import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.streams import stage_run_tail, stored_log
from app.domain.statuses import Phase
from app.errors import NotFound
from app.storage.base import ArtifactStore

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_RUNNING_PHASES = frozenset({Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING})


@dataclass(frozen=True, slots=True)
class LogCursor:
    """A place in the logs of a stage run's attempts: byte ``offset`` of the latest attempt unless one is named.

    No offset is the start, a negative one counts from the present end. ``is_end``: the attempt has nothing more.
    """

    attempt: int | None
    offset: int | None
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Bytes ``offset <= i < next_offset`` of one attempt's log.

    ``attempt`` is 0 as long as the stage run has not been started. ``final``: the attempt is over and its log ends
    at ``next_offset``.
    """

    attempt: int
    offset: int
    next_offset: int
    data: bytes
    final: bool

    @property
    def cursor(self) -> LogCursor:
        """The place behind the slice."""
        return LogCursor(self.attempt or None, self.next_offset, self.final)

    def cut_to_characters(self) -> LogSlice:
        """The slice without a UTF-8 character which is incomplete at its end, unless nothing follows."""
        _, used_bytes = decode_log(self.data, final=self.final)
        return replace(self, next_offset=self.offset + used_bytes, data=self.data[:used_bytes])


class LogReader:
    """Random access to the logs of attempts, by byte offset."""

    def __init__(self, attempts_root: Path, store: ArtifactStore, engine: AsyncEngine) -> None:
        self._attempts_root = attempts_root
        self._store = store
        self._engine = engine

    async def read(
        self, stage_run_id: UUID, after_offset: int | None, max_bytes: int, attempt: int | None = None
    ) -> LogSlice:
        """At most ``max_bytes`` from ``after_offset`` on, of the latest attempt unless one is named.

        None is the start, a negative offset counts from the present end, and one beyond the end is the end.
        """
        # The order matters: an attempt which was over before its file was read has nothing more to write.
        async with self._engine.connect() as connection:
            stage_run = await stage_run_tail(connection, stage_run_id)
        if stage_run is None:
            raise NotFound(f"there is no stage run {stage_run_id}", path=("stageRunId",))
        latest: int = stage_run.attempt_number
        attempt = latest if attempt is None else attempt
        is_over = attempt < latest or (attempt == latest and stage_run.phase not in _RUNNING_PHASES)
        start, data, size = await self._read_bytes(stage_run_id, attempt, after_offset or 0, max_bytes)
        end = start + len(data)
        started_or_never_will = attempt > 0 or stage_run.phase is Phase.FINAL
        return LogSlice(attempt, start, end, data, final=is_over and started_or_never_will and end == size)

    async def _read_bytes(
        self, stage_run_id: UUID, attempt: int, offset: int, max_bytes: int
    ) -> tuple[int, bytes, int]:
        """``(start, bytes, size of the whole log)``"""
        path = self._attempts_root / f"{stage_run_id}.{attempt}" / "output.log"
        try:
            return await asyncio.to_thread(_read_file, path, offset, max_bytes)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return await self._read_stored(stage_run_id, attempt, offset, max_bytes)

    async def _read_stored(
        self, stage_run_id: UUID, attempt: int, offset: int, max_bytes: int
    ) -> tuple[int, bytes, int]:
        async with self._engine.connect() as connection:
            log = await stored_log(connection, stage_run_id, attempt)
        if log is None:
            return 0, b"", 0
        start = _start(offset, log.file_size)
        end = min(start + max_bytes, log.file_size)
        if start == end:
            return start, b"", log.file_size
        data = b"".join([chunk async for chunk in self._store.open(log.sha256, start, end)])
        return start, data, log.file_size


def decode_log(data: bytes, *, final: bool) -> tuple[str, int]:
    """Text of a part of a log and how many bytes it stands for.

    An incomplete character at the end is left for the next part, unless this is the last one. Bytes which are
    not UTF-8, and NUL, become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    incomplete, _ = decoder.getstate()
    return text.replace("\0", "\ufffd"), len(data) - len(incomplete)


def _read_file(path: Path, offset: int, max_bytes: int) -> tuple[int, bytes, int]:
    # A stage may put anything in place of its log: follow no link, wait for no pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ELOOP, "not a regular file", path)
        start = _start(offset, status.st_size)
        data = os.pread(fd, min(max_bytes, status.st_size - start), start)
        return start, data, max(status.st_size, start + len(data))
    finally:
        os.close(fd)


def _start(offset: int, size: int) -> int:
    return max(size + offset, 0) if offset < 0 else min(offset, size)
