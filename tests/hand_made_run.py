"""A run written row by row, so that tests decide what happens when. Events are numbered under the run's lock."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import (
    artifacts,
    blobs,
    deleted_runs,
    metric_points,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    resource_samples,
    run_events,
    stage_runs,
)
from app.domain.events import EventKind
from app.domain.vocabulary import (
    ArtifactStatus,
    ArtifactType,
    Phase,
    RunStatus,
    StageStatus,
    StageType,
)
from app.storage.base import StoredBlob

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class HandMadeRun:
    """A running run with one stage run in its first attempt."""

    engine: AsyncEngine
    pipeline_id: uuid.UUID
    run_id: uuid.UUID
    stage_id: uuid.UUID
    stage_run_id: uuid.UUID

    @classmethod
    async def insert(cls, engine: AsyncEngine, *, environment: str | None = None, attempt: int = 1) -> Self:
        """``attempt`` 0: the stage run still waits."""
        pipeline_id, run_id, stage_id, stage_run_id = (new_id() for _ in range(4))
        started = attempt > 0
        status = StageStatus.RUNNING if started else StageStatus.PENDING
        async with engine.begin() as connection:
            await _insert(connection, pipelines, id=pipeline_id, name="by hand")
            await _insert(
                connection,
                pipeline_stages,
                id=stage_id,
                pipeline_id=pipeline_id,
                name="train",
                stage_type=StageType.MODEL_TRAINING,
                order=0,
            )
            await _insert(
                connection,
                pipeline_runs,
                id=run_id,
                pipeline_id=pipeline_id,
                status=RunStatus.RUNNING,
                environment=environment,
                definition={},
                timeout_seconds=3600,
            )
            await _insert(
                connection,
                stage_runs,
                id=stage_run_id,
                pipeline_run_id=run_id,
                stage_id=stage_id,
                name="train",
                position=0,
                status=status,
                phase=Phase.RUNNING if started else Phase.READY,
                attempt_number=attempt,
                spec={},
            )
        return cls(engine, pipeline_id, run_id, stage_id, stage_run_id)

    async def record(self, *kinds: EventKind, **payload: Any) -> int:
        """Commit one event per kind in one transaction; the number of the last one."""
        async with self.engine.begin() as connection:
            return await self._add_events(connection, kinds, payload)

    async def finish(
        self, status: RunStatus = RunStatus.COMPLETED, *kinds: EventKind, **payload: Any
    ) -> None:
        """End the run and its stage run together with their last events (RUN_FINISHED when left out)."""
        async with self.engine.begin() as connection:
            await self._add_events(
                connection, kinds or (EventKind.RUN_FINISHED,), {"status": status, **payload}
            )
            await self._update(connection, stage_runs, self.stage_run_id, _FINAL_STAGE)
            await self._update(
                connection, pipeline_runs, self.run_id, {"status": status, "completed_at": sa.func.now()}
            )

    async def add_samples(self, count: int, *, attempt: int = 1) -> int:
        """Commit resource samples; the number of the last one."""
        async with self.engine.begin() as connection:
            last: int = await self._advance(connection, pipeline_runs.c.last_sample_seq, count)
            rows = [
                {
                    "run_id": self.run_id,
                    "seq": seq,
                    "stage_run_id": self.stage_run_id,
                    "attempt": attempt,
                    "at": NOON + dt.timedelta(seconds=seq),
                    "cpu_percent": 50.0 + seq,
                    "memory_bytes": seq * 2**20,
                    "process_count": 1,
                }
                for seq in range(last - count + 1, last + 1)
            ]
            await connection.execute(sa.insert(resource_samples), rows)
        return last

    async def add_metrics(self, *values: float) -> int:
        """Commit points of the metric ``loss``; the number of the last one."""
        async with self.engine.begin() as connection:
            last: int = await self._advance(connection, pipeline_runs.c.last_metric_seq, len(values))
            first = last - len(values) + 1
            rows = [
                {
                    "run_id": self.run_id,
                    "seq": seq,
                    "stage_run_id": self.stage_run_id,
                    "attempt": 1,
                    "name": "loss",
                    "step": seq,
                    "value": value,
                }
                for seq, value in enumerate(values, start=first)
            ]
            await connection.execute(sa.insert(metric_points), rows)
        return last

    async def update_run(self, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await self._update(connection, pipeline_runs, self.run_id, values)

    async def update_stage_run(self, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await self._update(connection, stage_runs, self.stage_run_id, values)

    async def finish_stage_run(self) -> None:
        await self.update_stage_run(**_FINAL_STAGE)

    async def forget_events_up_to(self, seq: int) -> None:
        """What retention does."""
        statement = sa.delete(run_events).where(run_events.c.run_id == self.run_id, run_events.c.seq <= seq)
        async with self.engine.begin() as connection:
            await connection.execute(statement)

    async def add_artifact(
        self, blob: StoredBlob, path: str, *, attempt: int = 1, **values: Any
    ) -> uuid.UUID:
        """An artifact whose bytes are in a store; its id."""
        artifact_id = new_id()
        row = {
            "id": artifact_id,
            "name": path,
            "artifact_type": ArtifactType.OTHER,
            "status": ArtifactStatus.READY,
            "file_path": blob.key,
            "file_name": path.rpartition("/")[2],
            "file_size": blob.size_bytes,
            "stage_id": self.stage_id,
            "stage_run_id": self.stage_run_id,
            "relative_path": path,
            "attempt_number": attempt,
            "sha256": blob.sha256,
        }
        async with self.engine.begin() as connection:
            # Another test may have stored the same bytes.
            row_of_blob = {
                "sha256": blob.sha256,
                "size_bytes": blob.size_bytes,
                "storage_type": blob.storage_type,
            }
            await connection.execute(insert(blobs).values(row_of_blob).on_conflict_do_nothing())
            await _insert(connection, artifacts, **row | values)
        return artifact_id

    async def _add_events(
        self, connection: AsyncConnection, kinds: tuple[EventKind, ...], payload: dict[str, Any]
    ) -> int:
        last: int = await self._advance(connection, pipeline_runs.c.last_event_seq, len(kinds))
        for seq, kind in enumerate(kinds, start=last - len(kinds) + 1):
            of_stage = not kind.startswith("RUN_")
            await _insert(
                connection,
                run_events,
                run_id=self.run_id,
                seq=seq,
                kind=kind,
                stage_run_id=self.stage_run_id if of_stage else None,
                payload={"status": "RUNNING", **payload},
            )
        return last

    async def _advance(self, connection: AsyncConnection, counter: sa.Column[int], count: int) -> int:
        statement = (
            sa.update(pipeline_runs)
            .where(pipeline_runs.c.id == self.run_id)
            .values({counter: counter + count})
            .returning(counter)
        )
        last: int = (await connection.execute(statement)).scalar_one()
        return last

    @staticmethod
    async def _update(
        connection: AsyncConnection, table: sa.Table, key: uuid.UUID, values: dict[str, Any]
    ) -> None:
        await connection.execute(sa.update(table).where(table.c.id == key).values(values))


async def let_time_pass(engine: AsyncEngine) -> None:
    """Whatever was done to runs was done long ago: a stream of changes begins a little in the past."""
    async with engine.begin() as connection:
        long_ago = sa.func.now() - dt.timedelta(hours=1)
        await connection.execute(sa.update(pipeline_runs).values(updated_at=long_ago))
        await connection.execute(sa.update(deleted_runs).values(deleted_at=long_ago))


_FINAL_STAGE: dict[str, Any] = {"status": StageStatus.COMPLETED, "phase": Phase.FINAL}


async def _insert(connection: AsyncConnection, table: sa.Table, **values: Any) -> None:
    await connection.execute(sa.insert(table).values(values))
