"""Reads what a stage printed: from its executor until the attempt is collected, then from the stored artifact."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.streams import stage_run_tail, stored_log
from app.domain.attempts import AttemptId
from app.domain.moves import ACTIVE_PHASES
from app.domain.vocabulary import Phase
from app.errors import DomainError, NotFound
from app.storage.base import ArtifactStore, StoredBlob


class LogPart(NamedTuple):
    """Part of a log: its bytes, where they start, and the present size of the whole log."""

    start: int
    data: bytes
    size: int


class LiveLogs(Protocol):
    """The logs of attempts that have not been collected yet."""

    async def read_log(self, attempt_id: str, offset: int, max_bytes: int) -> LogPart | None:
        """Part of an attempt's log from ``offset`` on; a negative offset counts from the end. None: no log here."""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """A position in the logs of a stage run: byte ``offset`` of ``attempt``, or of the latest attempt if that is None.

    ``offset`` None is the start; a negative one counts back from the present end. ``is_end``: no bytes follow.
    """

    attempt: int | None
    offset: int | None
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Bytes ``offset <= i < next_offset`` of one attempt's log.

    ``attempt`` is 0 until the stage run has an attempt. ``final``: the attempt has ended, and its log ends
    at ``next_offset``.
    """

    attempt: int
    offset: int
    next_offset: int
    data: bytes
    final: bool

    @property
    def cursor(self) -> LogCursor:
        """The position just after the slice."""
        return LogCursor(self.attempt or None, self.next_offset, self.final)

    def cut_to_characters(self) -> LogSlice:
        """The slice without an incomplete UTF-8 character at its end, unless nothing follows."""
        _, used_bytes = decode_log(self.data, final=self.final)
        return replace(self, next_offset=self.offset + used_bytes, data=self.data[:used_bytes])


@dataclass(frozen=True, slots=True)
class KnownLog:
    """What the rows say of a stage run and the log of one of its attempts; the stage run's row was read first."""

    stage_run_id: UUID
    latest_attempt: int
    phase: Phase
    attempt: int
    stored: StoredBlob | None

    @property
    def has_ended(self) -> bool:
        """Whether the attempt has ended, so that its log is complete."""
        is_latest = self.attempt == self.latest_attempt
        return self.attempt < self.latest_attempt or (is_latest and self.phase not in ACTIVE_PHASES)

    def piece(self, start: int, data: bytes, size: int) -> LogSlice:
        """The slice of these bytes, of a log that has ``size`` bytes so far."""
        started_or_never_will = self.attempt > 0 or self.phase is Phase.FINAL
        end = start + len(data)
        final = self.has_ended and started_or_never_will and end == size
        return LogSlice(self.attempt, start, end, data, final)


def refuse_unknown_attempt(attempt: int | None, latest: int) -> None:
    """Raises ``DomainError`` if the given attempt does not exist: it has no log, and may never have one."""
    if attempt is not None and not 0 < attempt <= latest:
        raise DomainError(
            f"attempt: there is no attempt {attempt}; the latest is {latest}", path=("attempt",)
        )


class LogReader:
    """Random access to the logs of attempts, by byte offset."""

    def __init__(self, live: LiveLogs, store: ArtifactStore, engine: AsyncEngine) -> None:
        self._live = live
        self._store = store
        self._engine = engine

    async def read(
        self, stage_run_id: UUID, after_offset: int | None, max_bytes: int, attempt: int | None = None
    ) -> LogSlice:
        """At most ``max_bytes`` from ``after_offset`` on, of the latest attempt unless one is named.

        None is the start, a negative offset counts from the present end, and one beyond the end is the end.
        """
        # The order matters: an attempt that had ended before its file was read writes nothing more.
        async with self._engine.connect() as connection:
            stage_run = await stage_run_tail(connection, stage_run_id)
        if stage_run is None:
            raise NotFound(f"there is no stage run {stage_run_id}", path=("stageRunId",))
        latest: int = stage_run.attempt_number
        refuse_unknown_attempt(attempt, latest)
        log = KnownLog(stage_run_id, latest, stage_run.phase, latest if attempt is None else attempt, None)
        found = await self._read_live(log, after_offset or 0, max_bytes)
        if found is None:
            async with self._engine.connect() as connection:
                row = await stored_log(connection, stage_run_id, log.attempt)
            blob = StoredBlob(*row) if row else None
            found = await self._read_stored(blob, after_offset or 0, max_bytes)
        return log.piece(*found)

    async def read_known(self, log: KnownLog, after_offset: int | None, max_bytes: int) -> LogSlice:
        """The same without a statement, unless the log of an active attempt is not in its folder."""
        offset = after_offset or 0
        found = None if log.stored else await self._read_live(log, offset, max_bytes)
        if found is None and log.stored is None and not log.has_ended:
            return await self.read(log.stage_run_id, after_offset, max_bytes, log.attempt or None)
        return log.piece(*(found or await self._read_stored(log.stored, offset, max_bytes)))

    async def _read_live(self, log: KnownLog, offset: int, max_bytes: int) -> LogPart | None:
        attempt_id = str(AttemptId(log.stage_run_id, log.attempt))
        return await self._live.read_log(attempt_id, offset, max_bytes)

    async def _read_stored(self, blob: StoredBlob | None, offset: int, max_bytes: int) -> LogPart:
        if blob is None:
            return LogPart(0, b"", 0)
        size = blob.size_bytes
        start = start_of(offset, size)
        end = min(start + max_bytes, size)
        if start == end:
            return LogPart(start, b"", size)
        data = b"".join([chunk async for chunk in self._store.open(blob.sha256, start, end)])
        return LogPart(start, data, size)


def decode_log(data: bytes, *, final: bool) -> tuple[str, int]:
    """The text of a part of a log, and the number of its bytes that the text covers.

    An incomplete character at the end is left for the next part, unless this is the last one. Bytes that are
    not UTF-8, and NUL, become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    incomplete, _ = decoder.getstate()
    return text.replace("\0", "\ufffd"), len(data) - len(incomplete)


def start_of(offset: int, size: int) -> int:
    """Where a read begins in a log of ``size`` bytes; a negative offset counts from the end."""
    return max(size + offset, 0) if offset < 0 else min(offset, size)
