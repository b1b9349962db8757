"""Runs moved through the real door, ``services.state``: one of the two ways to make a run without processes.

Use it when the test is about the moves: the test calls every transition that a supervisor makes, one by one. When the
test is about reads, write the rows with ``Factory`` (factories.py): it is faster, and any state can be written at once.
When processes matter, use the ``Engine`` of tests/execution.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import pipeline_runs, pipeline_stages, pipelines, run_events, stage_runs
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.attempts import AttemptKey
from app.domain.moves import RUN_FINAL
from app.domain.outcomes import AttemptOutcome
from app.domain.plan import outcome
from app.domain.vocabulary import ArtifactType, FinishReason, Phase, StageStatus, StorageType
from app.notifications.postgres import PostgresNotifier
from app.services.pipelines import create_pipeline
from app.services.runs import StartRun, cancel_run, start_run
from app.services.state import attempt_reports, claims
from app.services.state.outputs import StageOutputs, StoredFile
from app.storage.base import StoredBlob

SUCCESS = AttemptOutcome(FinishReason.EXITED, exit_code=0)
EXIT_3 = AttemptOutcome(FinishReason.EXITED, exit_code=3)
LOST = AttemptOutcome(FinishReason.LOST)
STOPPED = AttemptOutcome(FinishReason.CANCELLED)

WAITS_FOR_A_LOCK = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def stage(name: str, needs: Sequence[str] = (), **config: Any) -> dict[str, Any]:
    """A stage in the shape a user writes."""
    return {
        "name": name,
        "stageType": "DATA_PREPROCESSING",
        "dependencies": list(needs),
        "config": {"command": ["true"], **config},
    }


def draft(*stages: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    """A pipeline in the shape a user writes."""
    return {"name": "by hand", "config": config, "stages": list(stages)}


def output(
    path: str,
    *,
    dataset: DatasetFacts | None = None,
    model: ModelFacts | None = None,
    is_captured_log: bool = False,
) -> StoredFile:
    """A file as if its bytes were in the store. The digest is derived from the path."""
    digest = uuid.uuid5(uuid.NAMESPACE_URL, path).hex * 2
    kind = ArtifactType.DATASET if dataset else ArtifactType.MODEL if model else ArtifactType.OTHER
    return StoredFile(
        path=path,
        name=path,
        artifact_type=kind,
        blob=StoredBlob(digest, 3, StorageType.LOCAL),
        dataset=dataset,
        model=model,
        is_captured_log=is_captured_log,
    )


def key_of(row: sa.Row[Any]) -> AttemptKey:
    """The current attempt of a claimed stage run."""
    return AttemptKey(row.pipeline_run_id, row.id, row.attempt_number)


@dataclass(frozen=True)
class ByHand:
    """Starts runs, moves their stages one by one, and reads the rows."""

    engine: AsyncEngine
    notifier: PostgresNotifier
    worker_id: uuid.UUID
    host_id: uuid.UUID

    async def pipeline(self, *stages: Mapping[str, Any], **config: Any) -> uuid.UUID:
        return await create_pipeline(self.engine, draft(*stages, **config))

    async def queue(self, pipeline_id: uuid.UUID, **request: Any) -> uuid.UUID:
        return await start_run(self.engine, self.notifier, StartRun(pipeline_id, **request))

    async def begin(self, *, running_limit: int = 100, timeout_seconds: float = 3600) -> uuid.UUID | None:
        return await claims.start_next_run(
            self.engine,
            self.notifier,
            self.worker_id,
            running_limit=running_limit,
            default_timeout_seconds=timeout_seconds,
        )

    async def started(self, *stages: Mapping[str, Any], **config: Any) -> uuid.UUID:
        """A RUNNING run of a new pipeline."""
        run_id = await self.queue(await self.pipeline(*stages, **config))
        assert await self.begin() == run_id
        return run_id

    async def claim(self) -> sa.Row[Any] | None:
        """Claim the stage run that may start next; returns its row."""
        key = await claims.claim_next_stage(self.engine, self.notifier, self.worker_id, self.host_id)
        if key is None:
            return None
        (row,) = await self.rows(sa.select(stage_runs).where(stage_runs.c.id == key.stage_run_id))
        return row

    async def claimed(self, name: str) -> sa.Row[Any]:
        """Claim the stage run that may start next, which must be the one of this name."""
        row = await self.claim()
        assert row is not None, f"{name} is not ready"
        assert row.name == name
        return row

    async def run_stage(self, row: sa.Row[Any]) -> bool:
        return await attempt_reports.stage_started(self.engine, self.notifier, key_of(row), datetime.now(UTC))

    async def collect(self, row: sa.Row[Any]) -> bool:
        return await attempt_reports.stage_collecting(self.engine, self.notifier, key_of(row))

    async def complete(
        self, row: sa.Row[Any], *files: StoredFile, outcome: AttemptOutcome = SUCCESS, **outputs: Any
    ) -> bool:
        """Move an active stage run to COMPLETED."""
        await self.collect(row)
        left = StageOutputs(files=files, **outputs)
        return await attempt_reports.complete_stage(self.engine, self.notifier, key_of(row), outcome, left)

    async def fail(self, row: sa.Row[Any], outcome: AttemptOutcome = EXIT_3, *files: StoredFile) -> bool:
        return await attempt_reports.attempt_failed(
            self.engine, self.notifier, key_of(row), outcome, StageOutputs(files=files)
        )

    async def cancel(self, run_id: uuid.UUID, reason: str | None = "enough") -> None:
        await cancel_run(self.engine, self.notifier, run_id, reason)

    async def complete_all(self, *, but: str | None = None) -> None:
        """Complete every stage as it becomes ready, and fail the one named ``but``."""
        while (row := await self.claim()) is not None:
            await (self.fail(row) if row.name == but else self.complete(row))

    async def expire(self, run_id: uuid.UUID) -> None:
        """Let the run's deadline pass."""
        past = sa.func.now() - sa.text("interval '1 second'")
        await self.execute(
            sa.update(pipeline_runs).where(pipeline_runs.c.id == run_id).values(deadline_at=past)
        )

    async def make_due(self, run_id: uuid.UUID) -> None:
        """Let the delay of every pending retry of the run pass."""
        ready = sa.and_(stage_runs.c.pipeline_run_id == run_id, stage_runs.c.phase == Phase.READY)
        await self.execute(sa.update(stage_runs).where(ready).values(not_before=None))

    async def run(self, run_id: uuid.UUID) -> sa.Row[Any]:
        (row,) = await self.rows(sa.select(pipeline_runs).where(pipeline_runs.c.id == run_id))
        return row

    async def stages(self, run_id: uuid.UUID) -> dict[str, Any]:
        """Stage runs by name, in the order of the pipeline."""
        statement = sa.select(stage_runs).where(stage_runs.c.pipeline_run_id == run_id)
        return {row.name: row for row in await self.rows(statement.order_by(stage_runs.c.position))}

    async def statuses(self, run_id: uuid.UUID) -> dict[str, str]:
        return {name: str(row.status) for name, row in (await self.stages(run_id)).items()}

    async def events(self, run_id: uuid.UUID) -> Sequence[sa.Row[Any]]:
        statement = sa.select(run_events).where(run_events.c.run_id == run_id)
        return await self.rows(statement.order_by(run_events.c.seq))

    async def pipeline_row(self, pipeline_id: uuid.UUID) -> sa.Row[Any]:
        (row,) = await self.rows(sa.select(pipelines).where(pipelines.c.id == pipeline_id))
        return row

    async def stage_rows(self, pipeline_id: uuid.UUID) -> dict[str, Any]:
        """The pipeline's stages by name, the active ones only."""
        statement = sa.select(pipeline_stages).where(
            pipeline_stages.c.pipeline_id == pipeline_id, pipeline_stages.c.is_active
        )
        return {row.name: row for row in await self.rows(statement.order_by(pipeline_stages.c.order))}

    async def check(self, run_id: uuid.UUID) -> None:
        """Assert what must be true of every run at every moment."""
        run, stages = await self.run(run_id), list((await self.stages(run_id)).values())
        events = await self.events(run_id)
        open_count = sum(row.phase is not Phase.FINAL for row in stages)
        assert run.open_stage_count == open_count
        assert run.success_count == sum(row.status is StageStatus.COMPLETED for row in stages)
        assert run.failed_count == sum(row.status is StageStatus.FAILED for row in stages)
        assert [event.seq for event in events] == list(range(1, run.last_event_seq + 1))
        assert (run.status in RUN_FINAL) == (open_count == 0)
        if open_count == 0:
            pairs = [(row.status, row.allow_failure) for row in stages]
            cancelled = run.cancel_requested_at is not None
            timed_out = run.finish_reason if run.finish_reason is FinishReason.TIMED_OUT else None
            assert run.status is outcome(pairs, cancelled=cancelled, stopped_by=timed_out)
        _check_replay(run, stages, events)
        _check_waiting({row.id: row for row in stages})

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        async with self.engine.connect() as connection:
            found: Sequence[sa.Row[Any]] = (await connection.execute(statement)).all()
        return found

    async def execute(self, statement: sa.Executable) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(statement)


async def waiters(by_hand: ByHand, expected: int) -> None:
    """Return when this many transactions wait for a lock."""
    with anyio.fail_after(10):
        while (await by_hand.rows(WAITS_FOR_A_LOCK))[0][0] < expected:  # noqa: ASYNC110 (PostgreSQL has no event for it)
            await anyio.sleep(0.01)


def _check_replay(run: sa.Row[Any], stages: Sequence[sa.Row[Any]], events: Sequence[sa.Row[Any]]) -> None:
    """The statuses that a reader of the events knows last are those of the rows."""
    reported: dict[uuid.UUID | None, str] = {}
    for event in events:
        if "status" in event.payload:
            reported[event.stage_run_id] = event.payload["status"]
    assert reported[None] == run.status
    for row in stages:
        expected = StageStatus.COMPLETED if row.reused_from_id else StageStatus.PENDING
        assert reported.get(row.id, expected) == row.status, row.name


def _check_waiting(stages: Mapping[uuid.UUID, sa.Row[Any]]) -> None:
    def is_done(row: sa.Row[Any]) -> bool:
        failed_harmlessly = row.status is StageStatus.FAILED and row.allow_failure
        return row.status is StageStatus.COMPLETED or failed_harmlessly

    for row in stages.values():
        missing = sum(not is_done(stages[other]) for other in row.depends_on)
        if row.phase is Phase.BLOCKED:
            assert row.waiting_for == missing > 0, row.name
        elif row.status not in (StageStatus.SKIPPED, StageStatus.CANCELLED):
            assert missing == 0, row.name
