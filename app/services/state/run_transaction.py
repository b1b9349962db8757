"""One transaction over one run: its row is locked, so its events are numbered without gap in commit order.

Every transaction acquires its locks in this order, so transactions can't deadlock:

1. an advisory lock: the claims lock, or that of a concurrency key;
2. rows of runs, ordered by id;
3. rows of their stage runs and attempts;
4. rows of blobs, ordered by digest;
5. rows of registered models, ordered by name;
6. the row of the pipeline;
7. rows of its stages, or of its schedules.

Two exceptions use FOR KEY SHARE, which waits for a FOR UPDATE only: a new run holds its pipeline first, and
``database.reads.cache.lock_execution`` locks a stage run of another run, but skips a row that is being deleted.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import pipeline_runs, run_events, stage_runs
from app.domain.events import ENGINE, EventKind
from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES, STATUS_OF_PHASE
from app.domain.text import clean_json
from app.domain.units import BYTES_PER_MB
from app.domain.vocabulary import Phase, RunStatus, StageStatus
from app.errors import NotFound
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS, WORK, run_topic
from app.services.state.mirrors import lock_pipeline, mirror_run, mirror_stages
from app.telemetry import log_context

_RUN_COLUMNS: list[sa.Column[Any]] = [
    pipeline_runs.c.id,
    pipeline_runs.c.pipeline_id,
    pipeline_runs.c.status,
    pipeline_runs.c.fail_fast,
    pipeline_runs.c.finish_reason,
    pipeline_runs.c.error_message,
    pipeline_runs.c.cancel_requested_at,
    pipeline_runs.c.cancel_reason,
    pipeline_runs.c.cancel_actor,
    pipeline_runs.c.deadline_at,
    pipeline_runs.c.timeout_seconds,
    pipeline_runs.c.created_at,
    pipeline_runs.c.queue_deadline_at,
    pipeline_runs.c.open_stage_count,
    pipeline_runs.c.last_event_seq,
]

STAGE_COLUMNS: list[sa.Column[Any]] = [
    stage_runs.c.id,
    stage_runs.c.stage_id,
    stage_runs.c.name,
    stage_runs.c.status,
    stage_runs.c.phase,
    stage_runs.c.attempt_number,
    stage_runs.c.allow_failure,
    stage_runs.c.spec,
    stage_runs.c.lost_count,
    stage_runs.c.stop_requested_at,
    stage_runs.c.stop_reason,
    stage_runs.c.stop_cause,
    stage_runs.c.worker_id,
]


_WITHOUT_NEW_WORK = frozenset(
    {EventKind.STAGE_CLAIMED, EventKind.STAGE_STARTED, EventKind.STAGE_COLLECTING, EventKind.ARTIFACT_STORED}
)
"""Events after which no supervisor but the one that drives the attempt has anything to do."""


class RunTransaction:
    """Moves one run and its stage runs; every move is a compare-and-set together with its event."""

    def __init__(self, connection: AsyncConnection, run: sa.Row[Any]) -> None:
        self.connection = connection
        self.run = run
        self._events: list[dict[str, Any]] = []
        self._run_values: dict[str, Any] = {}
        self._touched: set[uuid.UUID] = set()
        self._counts: Counter[StageStatus] = Counter()

    @property
    def open_stage_count(self) -> int:
        """How many stage runs have not ended, as of this transaction."""
        count: int = self.run.open_stage_count
        return count - self._counts.total()

    @property
    def topics(self) -> list[str]:
        """Topics to notify after the commit."""
        if not self._events:
            return []
        topics = [run_topic(self.run.id)]
        if any(event["kind"] not in _WITHOUT_NEW_WORK for event in self._events):
            topics.append(WORK)
        if self._moves_run:
            topics.append(RUNS)
        return topics

    def record(
        self,
        kind: EventKind,
        stage_run_id: uuid.UUID | None = None,
        *,
        actor: str = ENGINE,
        cause: str,
        **payload: Any,
    ) -> None:
        """Adds an event; the arguments are those of ``event_values``."""
        self._events.append(event_values(kind, stage_run_id, actor=actor, cause=cause, **payload))

    def set_run(self, **values: Any) -> None:
        """Changes columns of the run when the transaction ends."""
        self._run_values.update(values)

    def pending(self, column: str) -> Any:
        """A column of the run as this transaction will leave it."""
        return self._run_values.get(column, getattr(self.run, column))

    def touch(self, *stage_run_ids: uuid.UUID) -> None:
        """Copies these stage runs to their stages when the transaction ends."""
        self._touched.update(stage_run_ids)

    def count_final(self, status: StageStatus) -> None:
        """Counts one more stage run that has ended."""
        self._counts[status] += 1

    def note_peaks(self, memory_bytes: int | None, cpu_percent: float | None) -> None:
        """Raises the run's maxima to what an attempt of it reached."""
        runs = pipeline_runs.c
        if memory_bytes is not None:
            self.set_run(
                max_memory_usage=sa.func.greatest(runs.max_memory_usage, memory_bytes / BYTES_PER_MB)
            )
        if cpu_percent is not None:
            self.set_run(max_cpu_usage=sa.func.greatest(runs.max_cpu_usage, cpu_percent))

    def move_run(self, to: RunStatus, **values: Any) -> None:
        """Moves the run to another status when the transaction ends."""
        if to not in LEGAL_RUN_MOVES[self.pending("status")]:
            raise AssertionError(f"illegal move of run {self.run.id}: {self.run.status} -> {to}")
        self.set_run(status=to, **values)

    async def stage(
        self, stage_run_id: uuid.UUID, attempt: int | None, phases: Collection[Phase]
    ) -> sa.Row[Any] | None:
        """The stage run, if it still is in one of these phases and (when given) at this attempt."""
        statement = sa.select(*STAGE_COLUMNS).where(
            stage_runs.c.id == stage_run_id,
            stage_runs.c.pipeline_run_id == self.run.id,
            stage_runs.c.phase.in_(phases),
        )
        if attempt is not None:
            statement = statement.where(stage_runs.c.attempt_number == attempt)
        return (await self.connection.execute(statement)).one_or_none()

    async def move_stage(self, stage: sa.Row[Any], to: Phase, **values: Any) -> None:
        """Compare-and-set of one stage run; a phase that is not final brings its public status along."""
        if to not in LEGAL_STAGE_MOVES[stage.phase]:
            raise AssertionError(f"illegal move of stage run {stage.id}: {stage.phase} -> {to}")
        if to is not Phase.FINAL:
            values["status"] = STATUS_OF_PHASE[to]
        statement = (
            sa.update(stage_runs)
            .where(
                stage_runs.c.id == stage.id,
                stage_runs.c.attempt_number == stage.attempt_number,
                stage_runs.c.phase == stage.phase,
            )
            .values(phase=to, **values)
        )
        if (await self.connection.execute(statement)).rowcount != 1:
            raise AssertionError(f"stage run {stage.id} moved although its run was locked")
        if to is Phase.FINAL or values["status"] is not stage.status:
            self.touch(stage.id)

    async def flush(self) -> None:
        """Writes events, the run's own columns and the mirrors; called once, at the end of the transaction."""
        if not self._events and not self._run_values:
            return
        first = self.run.last_event_seq + 1
        rows = [{"run_id": self.run.id, "seq": first + n, **event} for n, event in enumerate(self._events)]
        if rows:
            await self.connection.execute(sa.insert(run_events), rows)
        if self._moves_run or self._touched:
            await lock_pipeline(self.connection, self.run.pipeline_id)
        await self.connection.execute(
            sa.update(pipeline_runs)
            .where(pipeline_runs.c.id == self.run.id, pipeline_runs.c.status == self.run.status)
            .values(
                **self._counters(),
                last_event_seq=self.run.last_event_seq + len(rows),
                # Read after the wait for the last lock: subscribers of changes look back for a few seconds only.
                updated_at=sa.func.clock_timestamp(),
                **self._run_values,
            )
        )
        await self._mirror()

    async def _mirror(self) -> None:
        if self._touched:
            await mirror_stages(self.connection, self._touched)
        if self._moves_run:
            await mirror_run(self.connection, self.run.id)

    @property
    def _moves_run(self) -> bool:
        return "status" in self._run_values

    def _counters(self) -> dict[str, Any]:
        if not self._counts:
            return {}
        runs, counts = pipeline_runs.c, self._counts
        return {
            "open_stage_count": self.open_stage_count,
            "success_count": runs.success_count + counts[StageStatus.COMPLETED],
            "failed_count": runs.failed_count + counts[StageStatus.FAILED],
        }


def event_values(
    kind: EventKind,
    stage_run_id: uuid.UUID | None = None,
    *,
    actor: str = ENGINE,
    cause: str,
    **payload: Any,
) -> dict[str, Any]:
    """Columns of an event: ``actor`` made it happen, ``cause`` says why; its payload leaves out ``None`` values."""
    fields = {"actor": actor, "cause": cause, **payload}
    present = {key: value for key, value in fields.items() if value is not None}
    return {"kind": kind, "stage_run_id": stage_run_id, "payload": clean_json(present)}


def worker_actor(worker_id: uuid.UUID | None) -> str:
    """How events name a worker; None is one whose row is gone."""
    return f"worker {worker_id}" if worker_id else "a worker"


async def lock_run(
    connection: AsyncConnection, run_id: uuid.UUID, *, for_deletion: bool = False
) -> RunTransaction:
    """Locks the run's row in the caller's transaction; the caller calls ``flush``, commits and publishes ``topics``.

    Other rows may still begin to refer to the run, unless the lock is ``for_deletion``.
    """
    statement = sa.select(*_RUN_COLUMNS).where(pipeline_runs.c.id == run_id)
    run = (await connection.execute(statement.with_for_update(key_share=not for_deletion))).one_or_none()
    if run is None:
        raise NotFound(f"there is no run {run_id}", path=("runId",))
    return RunTransaction(connection, run)


@contextlib.asynccontextmanager
async def run_transaction(
    engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID
) -> AsyncIterator[RunTransaction]:
    """A whole transaction over one run; its notifications go out after the commit."""
    with log_context(run_id=run_id):
        async with engine.begin() as connection:
            transaction = await lock_run(connection, run_id)
            yield transaction
            await transaction.flush()
        notifier.publish(*transaction.topics)
