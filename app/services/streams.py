"""Live streams as batches of rows: read after the cursor, deliver, wait for a notification or the poll, read again.

No connection is held while a stream waits or while its reader is slow; a slow reader finds more rows in its next
batch, so nothing is buffered for it. While the database is away the streams wait for it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_exception,
    stop_after_delay,
    wait_fixed,
)

from app.database.engine import without_transactions
from app.database.outages import is_outage
from app.database.reads.streams import (
    Row,
    Rows,
    database_clock,
    events_after,
    matches_by_run,
    metrics_after,
    run_tail,
    samples_after,
    stage_run_tail,
)
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import Phase
from app.errors import DomainError, ErrorCode, NotFound
from app.notifications.coalesced_reads import CoalescedReads
from app.notifications.mailboxes import Mailbox
from app.notifications.postgres import PostgresNotifier
from app.notifications.topics import RUNS, log_topic, metrics_topic, run_topic, samples_topic
from app.services.changed_runs import ChangedRuns, Changes, WantedRuns, changes_since
from app.services.logs import LogCursor, LogReader, LogSlice, refuse_unknown_attempt

BATCH_ROWS = 500
LOG_CHUNK_BYTES = 64 * 1024
_LOG_POLL_SECONDS = 0.5
_RUNS_PER_BATCH = 100
_RUNS_INTERVAL_SECONDS = 0.25
# A client that subscribes and then queries a list may get the list before the first read of the stream, which waits for
# a core and a connection. Changes committed between the two are reported because the stream begins before both.
_BEGINS_BEFORE = dt.timedelta(seconds=5)
_OUTAGE_SECONDS = 60.0
_OUTAGE_POLL_SECONDS = 0.5

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
_ReadRows = Callable[[AsyncConnection, UUID, int, int], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of a run in order of ``seq``; ``cursor`` is the number to go on after.

    ``missed`` is the range (first, last) of numbers between the reader's cursor and the first row that retention
    has removed.
    """

    cursor: int
    rows: Rows
    missed: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Position:
    """What one read found: the rows after a cursor, the highest number given out, whether more can come."""

    rows: Rows
    last_seq: int
    is_final: bool


class Streams:
    """The source of all subscriptions of this process."""

    def __init__(self, engine: AsyncEngine, notifier: PostgresNotifier, logs: LogReader) -> None:
        self._engine = without_transactions(engine)
        self._notifier = notifier
        self._logs = logs
        self._coalesced = CoalescedReads()

    def run_events(self, run_id: UUID, after: int) -> AsyncGenerator[RowBatch, None]:
        """Events of a run after a sequence number, in order without gap or repeat, until the run is final."""
        return self._follow_run(run_id, after, events_after, "last_event_seq", run_topic(run_id))

    def resource_samples(self, run_id: UUID, after: int) -> AsyncGenerator[RowBatch, None]:
        """Resource samples of a run's stages after a sequence number, until the run is final."""
        topics = (samples_topic(run_id), run_topic(run_id))
        return self._follow_run(run_id, after, samples_after, "last_sample_seq", *topics)

    def metric_points(self, run_id: UUID, after: int) -> AsyncGenerator[RowBatch, None]:
        """Metric points of a run's stages after a sequence number, until the run is final."""
        topics = (metrics_topic(run_id), run_topic(run_id))
        return self._follow_run(run_id, after, metrics_after, "last_metric_seq", *topics)

    async def stage_log(self, stage_run_id: UUID, after: LogCursor) -> AsyncGenerator[LogSlice, None]:
        """The log of a stage run, through its retries, until it is final.

        No slice ends inside of a UTF-8 character, and each attempt ends with a slice that is ``final``.
        """
        stage_run = await self._stage_run(stage_run_id)
        refuse_unknown_attempt(after.attempt, stage_run.attempt_number)
        cursor = after
        with self._notifier.listen(log_topic(stage_run_id), run_topic(stage_run.pipeline_run_id)) as mailbox:
            while True:
                if cursor.is_end:
                    attempt = await self._next_attempt(stage_run_id, cursor.attempt or 0, mailbox)
                    if attempt is None:
                        return
                    cursor = LogCursor(attempt, 0)
                read = partial(self._logs.read, stage_run_id, cursor.offset, LOG_CHUNK_BYTES, cursor.attempt)
                piece = (await _patiently(read)).cut_to_characters()
                cursor = piece.cursor
                if piece.data or piece.final:
                    yield piece
                else:
                    await mailbox.wait(min(_LOG_POLL_SECONDS, self._notifier.poll_seconds))

    async def changed_runs(
        self, wanted: WantedRuns, after: Changes | None = None
    ) -> AsyncGenerator[ChangedRuns, None]:
        """Runs that were written or deleted since ``after``, or since a few seconds before the call; oldest change
        first, a few batches per second. No change is left out; a change from before the call may be reported.
        """
        with self._notifier.listen(RUNS) as mailbox:
            mailbox.notify()
            reported = after or await self._shortly_before_now()
            while True:
                await mailbox.wait(self._notifier.poll_seconds)
                window = await self._ask(
                    ("runs", reported.read_at), partial(changes_since, last_read_at=reported.read_at)
                )
                fresh = [
                    change
                    for run_id, change in window.by_run.items()
                    if reported.by_run.get(run_id) != change
                ]
                for first in range(0, len(fresh), _RUNS_PER_BATCH):
                    changes = fresh[first : first + _RUNS_PER_BATCH]
                    reported = reported.and_also(changes)
                    batch = await self._sort_out(changes, wanted, reported)
                    if batch.matching or batch.others or batch.deleted:
                        yield batch
                reported = window
                await asyncio.sleep(_RUNS_INTERVAL_SECONDS)

    async def _follow_run(
        self, run_id: UUID, after: int, read_rows: _ReadRows, last_seq_name: str, *topics: str
    ) -> AsyncGenerator[RowBatch, None]:
        cursor = after
        with self._notifier.listen(*topics) as mailbox:
            while True:
                read = partial(
                    _position, run_id=run_id, cursor=cursor, read_rows=read_rows, last_seq_name=last_seq_name
                )
                position = await self._ask((last_seq_name, run_id, cursor), read)
                refuse_ahead(cursor, position.last_seq)
                batch = _batch(cursor, position)
                if batch.cursor > cursor:
                    yield batch
                    cursor = batch.cursor
                if position.is_final and cursor >= position.last_seq:
                    return
                if len(position.rows) < BATCH_ROWS:
                    await mailbox.wait(self._notifier.poll_seconds)

    async def _next_attempt(self, stage_run_id: UUID, attempt: int, mailbox: Mailbox) -> int | None:
        """The attempt after this one as soon as it is made, or None if there will be none."""
        while True:
            stage_run = await self._stage_run(stage_run_id)
            if stage_run.attempt_number > attempt:
                return attempt + 1
            if stage_run.phase is Phase.FINAL:
                return None
            await mailbox.wait(self._notifier.poll_seconds)

    async def _stage_run(self, stage_run_id: UUID) -> Row:
        read = partial(stage_run_tail, stage_run_id=stage_run_id)
        stage_run = await self._ask(("stage run", stage_run_id), read)
        if stage_run is None:
            raise NotFound(f"there is no stage run {stage_run_id}", path=("stageRunId",))
        return stage_run

    async def _shortly_before_now(self) -> Changes:
        """A window without any change that begins a few seconds before the call, even if the database is away now."""
        called_at = time.monotonic()
        now = await self._ask("clock", database_clock)
        waited = dt.timedelta(seconds=time.monotonic() - called_at)
        return Changes(now - waited - _BEGINS_BEFORE, {})

    async def _sort_out(self, changes: Sequence[Row], wanted: WantedRuns, reported: Changes) -> ChangedRuns:
        written = [change.run_id for change in changes if change.deleted_from is None]

        async def read() -> dict[UUID, bool]:
            async with self._engine.connect() as connection:
                return await matches_by_run(connection, written, wanted.matching, wanted.candidates)

        matches = await _patiently(read) if written else {}
        return ChangedRuns(
            matching=[run_id for run_id in written if matches.get(run_id) is True],
            others=[run_id for run_id in written if matches.get(run_id) is False],
            deleted=[
                change.run_id
                for change in changes
                if change.deleted_from is not None and wanted.pipeline_id in (None, change.deleted_from)
            ],
            cursor=reported,
        )

    async def _ask(
        self, question: Hashable, read: Callable[[AsyncConnection], Coroutine[Any, Any, _Answer]]
    ) -> _Answer:
        async def read_once() -> _Answer:
            async with self._engine.connect() as connection:
                return await read(connection)

        return await _patiently(partial(self._coalesced.read, question, read_once))


def refuse_ahead(cursor: int, last_seq: int) -> None:
    """Raises ``DomainError`` for a cursor after the last row of the run: such a stream would stay silent."""
    if cursor > last_seq:
        raise DomainError(
            "after: this cursor is ahead of the run; use a cursor of this run's stream", path=("after",)
        )


async def _position(
    connection: AsyncConnection, run_id: UUID, cursor: int, read_rows: _ReadRows, last_seq_name: str
) -> _Position:
    # The tail first: what it promises is then in the rows, or has been removed by retention.
    tail = await run_tail(connection, run_id)
    if tail is None:
        raise NotFound(f"there is no run {run_id}", path=("runId",))
    last_seq: int = tail._mapping[last_seq_name]
    rows = await read_rows(connection, run_id, cursor, BATCH_ROWS) if last_seq > cursor else ()
    return _Position(rows, last_seq, tail.status in RUN_FINAL)


def _batch(cursor: int, position: _Position) -> RowBatch:
    rows = position.rows
    first, last = (rows[0].seq, rows[-1].seq) if rows else (position.last_seq + 1, position.last_seq)
    missed = (cursor + 1, first - 1) if first > cursor + 1 else None
    return RowBatch(last, rows, missed)


async def _patiently(read: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer of ``read``, which is called again while the database is away; ``UNAVAILABLE`` after a minute."""
    retrying = AsyncRetrying(
        retry=retry_if_exception(is_outage),
        stop=stop_after_delay(_OUTAGE_SECONDS),
        wait=wait_fixed(_OUTAGE_POLL_SECONDS),
        before_sleep=_log_outage,
    )
    try:
        return await retrying(read)
    except RetryError as error:
        cause = error.last_attempt.exception()
        raise DomainError("the database can't be reached", code=ErrorCode.UNAVAILABLE) from cause


def _log_outage(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    logger.warning("a stream waits for the database: %r", error)
