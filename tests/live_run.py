"""A run whose rows the test writes while subscriptions, logs or downloads follow it. Made of ``Factory``'s rows."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import deleted_runs, pipeline_runs, run_events, stage_runs
from app.domain.events import EventKind
from app.domain.vocabulary import ArtifactType, Phase, RunStatus, StageStatus
from app.storage.base import StoredBlob
from tests.factories import Factory

_COMPLETED_STAGE: dict[str, Any] = {"status": StageStatus.COMPLETED, "phase": Phase.FINAL}


@dataclass(frozen=True)
class LiveRun:
    """A running run with one stage run. Every method commits; events, samples and points get the run's numbers."""

    engine: AsyncEngine
    pipeline_id: uuid.UUID
    run_id: uuid.UUID
    stage_id: uuid.UUID
    stage_run_id: uuid.UUID

    @classmethod
    async def insert(cls, engine: AsyncEngine, *, environment: str | None = None, attempt: int = 1) -> Self:
        """``attempt`` is the one that is running; 0 for a stage run that is ready to start."""
        status, phase = (
            (StageStatus.RUNNING, Phase.RUNNING) if attempt else (StageStatus.PENDING, Phase.READY)
        )
        async with engine.begin() as connection:
            factory = Factory(connection)
            pipeline_id = await factory.pipeline("live")
            stage_id = await factory.stage(pipeline_id)
            run_id = await factory.run(pipeline_id, RunStatus.RUNNING, environment=environment)
            stage_run_id = await factory.stage_run(
                run_id, stage_id, status, phase=phase, attempt_number=attempt
            )
        return cls(engine, pipeline_id, run_id, stage_id, stage_run_id)

    async def record(self, *kinds: EventKind, **payload: Any) -> int:
        """Add one event per kind in one transaction; returns the number of the last one."""
        async with self.engine.begin() as connection:
            return await self._add_events(connection, kinds, payload)

    async def finish(
        self, status: RunStatus = RunStatus.COMPLETED, *kinds: EventKind, **payload: Any
    ) -> None:
        """End the run and its stage run in the transaction of the last events (default: RUN_FINISHED)."""
        async with self.engine.begin() as connection:
            await self._add_events(
                connection, kinds or (EventKind.RUN_FINISHED,), {"status": status, **payload}
            )
            await _update(connection, stage_runs, self.stage_run_id, _COMPLETED_STAGE)
            ended = {"status": status, "completed_at": sa.func.now()}
            await _update(connection, pipeline_runs, self.run_id, ended)

    async def add_samples(self, count: int, *, attempt: int = 1) -> int:
        """Add resource samples, the one with number n of n MB; returns the number of the last one."""
        async with self.engine.begin() as connection:
            last = await self._advance(connection, pipeline_runs.c.last_sample_seq, count)
            first = last - count + 1
            memory = [seq * 2**20 for seq in range(first, last + 1)]
            await Factory(connection).samples(
                self.run_id, self.stage_run_id, memory, first_seq=first, attempt=attempt
            )
        return last

    async def add_metrics(self, *values: float) -> int:
        """Add points of the metric ``loss``; returns the number of the last one, which is its step too."""
        async with self.engine.begin() as connection:
            last = await self._advance(connection, pipeline_runs.c.last_metric_seq, len(values))
            numbered = [(seq, seq, value) for seq, value in enumerate(values, start=last - len(values) + 1)]
            await Factory(connection).metric_points(self.run_id, self.stage_run_id, "loss", numbered)
        return last

    async def update_run(self, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await _update(connection, pipeline_runs, self.run_id, values)

    async def update_stage_run(self, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await _update(connection, stage_runs, self.stage_run_id, values)

    async def finish_stage_run(self) -> None:
        await self.update_stage_run(**_COMPLETED_STAGE)

    async def remove_events_up_to(self, seq: int) -> None:
        """Do what retention does."""
        statement = sa.delete(run_events).where(run_events.c.run_id == self.run_id, run_events.c.seq <= seq)
        async with self.engine.begin() as connection:
            await connection.execute(statement)

    async def add_artifact(
        self, blob: StoredBlob, path: str, *, attempt: int = 1, **values: Any
    ) -> uuid.UUID:
        """Add an artifact whose bytes are in a store; returns its id."""
        row = {
            "artifact_type": ArtifactType.OTHER,
            "file_path": blob.key,
            "file_name": path.rpartition("/")[2],
            "file_size": blob.size_bytes,
            "relative_path": path,
            "attempt_number": attempt,
            "sha256": blob.sha256,
        }
        async with self.engine.begin() as connection:
            factory = Factory(connection)
            await factory.stored_blob(blob)
            return await factory.artifact(self.stage_run_id, self.stage_id, path, **row | values)

    async def _add_events(
        self, connection: AsyncConnection, kinds: tuple[EventKind, ...], payload: dict[str, Any]
    ) -> int:
        last = await self._advance(connection, pipeline_runs.c.last_event_seq, len(kinds))
        for seq, kind in enumerate(kinds, start=last - len(kinds) + 1):
            stage_run_id = None if kind.startswith("RUN_") else self.stage_run_id
            await Factory(connection).event(
                self.run_id, seq, kind, stage_run_id=stage_run_id, payload={"status": "RUNNING", **payload}
            )
        return last

    async def _advance(self, connection: AsyncConnection, counter: sa.Column[int], count: int) -> int:
        """Reserve numbers under the lock of the run's row, as the product does; returns the last one."""
        statement = (
            sa.update(pipeline_runs)
            .where(pipeline_runs.c.id == self.run_id)
            .values({counter: counter + count})
            .returning(counter)
        )
        last: int = (await connection.execute(statement)).scalar_one()
        return last


async def let_time_pass(engine: AsyncEngine) -> None:
    """Date all changes and deletions of runs back by an hour: ``runsChanged`` begins a few seconds in the past."""
    async with engine.begin() as connection:
        long_ago = sa.func.now() - dt.timedelta(hours=1)
        await connection.execute(sa.update(pipeline_runs).values(updated_at=long_ago))
        await connection.execute(sa.update(deleted_runs).values(deleted_at=long_ago))


async def _update(
    connection: AsyncConnection, table: sa.Table, key: uuid.UUID, values: dict[str, Any]
) -> None:
    await connection.execute(sa.update(table).where(table.c.id == key).values(values))
