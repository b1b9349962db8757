"""Runs moved by hand: every transition a supervisor makes, called by the test instead, without any process."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.engine import connect, create_engine
from app.database.tables import (
    blobs,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    run_events,
    stage_runs,
    workers,
)
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.attempts import AttemptKey
from app.domain.moves import RUN_FINAL
from app.domain.outcomes import AttemptOutcome
from app.domain.plan import outcome
from app.domain.vocabulary import ArtifactType, FinishReason, Phase, StageStatus, StorageType
from app.execution import worker
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
    """A file whose bytes are said to be in the store; each path has a content of its own."""
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
    """The attempt a claimed stage run is at."""
    return AttemptKey(row.pipeline_run_id, row.id, row.attempt_number)


@dataclass(frozen=True)
class ByHand:
    """Starts runs, moves their stages one by one, and reads what became of the rows."""

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
        """The stage run that may start next, claimed."""
        key = await claims.claim_next_stage(self.engine, self.notifier, self.worker_id, self.host_id)
        if key is None:
            return None
        (row,) = await self.rows(sa.select(stage_runs).where(stage_runs.c.id == key.stage_run_id))
        return row

    async def claimed(self, name: str) -> sa.Row[Any]:
        """The same, which must be the stage of this name."""
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
        """From any phase in hand to COMPLETED."""
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
        """Completes whatever gets ready, and fails the stage named by ``but``."""
        while (row := await self.claim()) is not None:
            await (self.fail(row) if row.name == but else self.complete(row))

    async def expire(self, run_id: uuid.UUID) -> None:
        """The run's deadline has passed."""
        past = sa.func.now() - sa.text("interval '1 second'")
        await self.execute(
            sa.update(pipeline_runs).where(pipeline_runs.c.id == run_id).values(deadline_at=past)
        )

    async def make_due(self, run_id: uuid.UUID) -> None:
        """No retry of the run has to wait any longer."""
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
        """What holds of every run at every moment."""
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
    """Returns when this many transactions wait for a lock."""
    with anyio.fail_after(10):
        while (await by_hand.rows(WAITS_FOR_A_LOCK))[0][0] < expected:  # noqa: ASYNC110 (no event tells)
            await anyio.sleep(0.01)


def _check_replay(run: sa.Row[Any], stages: Sequence[sa.Row[Any]], events: Sequence[sa.Row[Any]]) -> None:
    """Whoever follows the events knows what the rows say."""
    told: dict[uuid.UUID | None, str] = {}
    for event in events:
        if "status" in event.payload:
            told[event.stage_run_id] = event.payload["status"]
    assert told[None] == run.status
    for row in stages:
        expected = StageStatus.COMPLETED if row.reused_from_id else StageStatus.PENDING
        assert told.get(row.id, expected) == row.status, row.name


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


@pytest.fixture(scope="session")
async def reused_database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """One database for all tests that move runs by hand: emptying it takes far less time than making it."""
    name = f"mlp_by_hand_{os.getpid()}"
    await _execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{migrated_template}"')
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    await _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
async def reused_engine(reused_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(reused_database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def reused_notifier(reused_database_url: str) -> AsyncIterator[PostgresNotifier]:
    async with PostgresNotifier(reused_database_url) as notifier:
        yield notifier


@pytest.fixture
async def by_hand(reused_engine: AsyncEngine, reused_notifier: PostgresNotifier) -> ByHand:
    """A worker of its own on a database without any other row."""
    async with reused_engine.begin() as connection:
        for table in (pipelines, workers, blobs):
            await connection.execute(sa.delete(table))
    host_id = new_id()
    worker_id = await worker.register(reused_engine, host_id, slots=4, cpus=100)
    by_hand = ByHand(reused_engine, reused_notifier, worker_id, host_id)
    # Nobody renews this lease while the test goes on.
    await by_hand.execute(sa.update(workers).values(lease_until=sa.func.now() + timedelta(hours=1)))
    return by_hand


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
