"""Rows made by plain inserts, so that tests of reads decide about every column. Defaults make each row valid."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import uuid
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.tables import (
    artifacts,
    blobs,
    datasets,
    metadata,
    metric_points,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    resource_samples,
    run_events,
    schedules,
    stage_attempts,
    stage_runs,
    webhooks,
    workers,
)
from app.domain.moves import RUN_FINAL, STAGE_FINAL
from app.domain.vocabulary import (
    ArtifactStatus,
    ArtifactType,
    MissedPolicy,
    Phase,
    RunStatus,
    StageStatus,
    StageType,
    StorageType,
)

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
_PHASES = {StageStatus.PENDING: Phase.BLOCKED, StageStatus.RUNNING: Phase.RUNNING}


class Factory:
    """Inserts one row per call and answers its id."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._metric_numbers = itertools.count(1)
        self._held_back: dict[tuple[sa.Table, frozenset[str]], list[dict[str, Any]]] | None = None

    @contextlib.asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """Hold back the rows of the block and insert them with a few statements at its end."""
        self._held_back = held_back = {}
        yield
        self._held_back = None
        async with self._engine.begin() as connection:
            for table in metadata.sorted_tables:
                for (of_table, _), rows in held_back.items():
                    if of_table is table:
                        await connection.execute(sa.insert(table), rows)

    async def pipeline(self, name: str = "penguins", **values: Any) -> uuid.UUID:
        return await self._insert_with_id(pipelines, name=name, **values)

    async def stage(self, pipeline_id: uuid.UUID, name: str = "train", **values: Any) -> uuid.UUID:
        defaults = {"stage_type": StageType.MODEL_TRAINING, "order": 0, "dependencies": []}
        return await self._insert_with_id(
            pipeline_stages, pipeline_id=pipeline_id, name=name, **{**defaults, **values}
        )

    async def run(
        self, pipeline_id: uuid.UUID, status: RunStatus = RunStatus.COMPLETED, **values: Any
    ) -> uuid.UUID:
        defaults = {
            "definition": {"name": "penguins"},
            "timeout_seconds": 3600,
            "completed_at": NOON if status in RUN_FINAL else None,
        }
        return await self._insert_with_id(
            pipeline_runs, pipeline_id=pipeline_id, status=status, **{**defaults, **values}
        )

    async def stage_run(
        self,
        run_id: uuid.UUID,
        stage_id: uuid.UUID,
        status: StageStatus = StageStatus.COMPLETED,
        **values: Any,
    ) -> uuid.UUID:
        defaults = {
            "name": "train",
            "position": 0,
            "phase": Phase.FINAL if status in STAGE_FINAL else _PHASES[status],
            "spec": {"command": ["true"]},
            "attempt_number": 1,
        }
        return await self._insert_with_id(
            stage_runs, pipeline_run_id=run_id, stage_id=stage_id, status=status, **{**defaults, **values}
        )

    async def attempt(self, stage_run_id: uuid.UUID, attempt: int = 1, **values: Any) -> None:
        defaults = {"host_id": new_id(), "executor": "LOCAL"}
        await self._insert(
            stage_attempts, stage_run_id=stage_run_id, attempt=attempt, **{**defaults, **values}
        )

    async def artifact(
        self, stage_run_id: uuid.UUID, stage_id: uuid.UUID, name: str = "model", **values: Any
    ) -> uuid.UUID:
        defaults = {
            "artifact_type": ArtifactType.MODEL,
            "status": ArtifactStatus.READY,
            "file_path": f"blobs/sha256/{name}",
            "file_name": f"{name}.bin",
            "relative_path": f"models/{name}-{new_id()}.bin",
            "attempt_number": 1,
        }
        return await self._insert_with_id(
            artifacts, stage_run_id=stage_run_id, stage_id=stage_id, name=name, **{**defaults, **values}
        )

    async def blob(self, content: bytes = b"bytes") -> str:
        """The row of stored bytes; their digest."""
        digest = hashlib.sha256(content).hexdigest()
        await self._insert(blobs, sha256=digest, size_bytes=len(content), storage_type=StorageType.LOCAL)
        return digest

    async def dataset(self, artifact_id: uuid.UUID, **values: Any) -> uuid.UUID:
        return await self._insert_with_id(datasets, artifact_id=artifact_id, **{"format": "csv", **values})

    async def model(self, artifact_id: uuid.UUID, **values: Any) -> uuid.UUID:
        defaults = {
            "model_type": "classification",
            "algorithm": "random forest",
            "framework": "scikit-learn",
            "model_format": "joblib",
        }
        return await self._insert_with_id(models, artifact_id=artifact_id, **{**defaults, **values})

    async def worker(self, **values: Any) -> uuid.UUID:
        defaults = {
            "host_id": new_id(),
            "host_name": "here",
            "pid": 1,
            "version": "1",
            "slots": 4,
            "cpus": 4.0,
            "lease_until": dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30),
        }
        return await self._insert_with_id(workers, **{**defaults, **values})

    async def schedule(self, pipeline_id: uuid.UUID, **values: Any) -> uuid.UUID:
        defaults = {
            "name": "nightly",
            "cron": "0 2 * * *",
            "time_zone": "UTC",
            "enabled": False,
            "missed_policy": MissedPolicy.SKIP,
        }
        return await self._insert_with_id(schedules, pipeline_id=pipeline_id, **{**defaults, **values})

    async def webhook(self, pipeline_id: uuid.UUID, **values: Any) -> uuid.UUID:
        defaults = {"name": "pushes", "secret": "0" * 64}
        return await self._insert_with_id(webhooks, pipeline_id=pipeline_id, **{**defaults, **values})

    async def samples(self, run_id: uuid.UUID, stage_run_id: uuid.UUID, memory_bytes: list[int]) -> None:
        """One sample per second, numbered from 1."""
        rows = [
            {
                "run_id": run_id,
                "seq": number,
                "stage_run_id": stage_run_id,
                "attempt": 1,
                "at": NOON + dt.timedelta(seconds=number),
                "cpu_percent": float(number),
                "memory_bytes": memory,
                "process_count": 1,
            }
            for number, memory in enumerate(memory_bytes, start=1)
        ]
        await self._insert_many(resource_samples, rows)

    async def metric(self, stage_run_id: uuid.UUID, name: str, values: list[float]) -> None:
        """The values of one metric at the steps 0, 1, 2..."""
        async with self._engine.connect() as connection:
            run_id = await connection.scalar(
                sa.select(stage_runs.c.pipeline_run_id).where(stage_runs.c.id == stage_run_id)
            )
        rows = [
            {
                "run_id": run_id,
                "seq": next(self._metric_numbers),
                "stage_run_id": stage_run_id,
                "attempt": 1,
                "name": name,
                "step": step,
                "value": value,
            }
            for step, value in enumerate(values)
        ]
        await self._insert_many(metric_points, rows)

    async def event(self, run_id: uuid.UUID, seq: int, kind: str, **values: Any) -> None:
        await self._insert(run_events, run_id=run_id, seq=seq, kind=kind, **{"payload": {}, **values})

    async def _insert_with_id(self, table: sa.Table, **values: Any) -> uuid.UUID:
        row_id: uuid.UUID = values.setdefault("id", new_id())
        await self._insert(table, **values)
        return row_id

    async def _insert(self, table: sa.Table, **values: Any) -> None:
        if self._held_back is not None:
            self._held_back.setdefault((table, frozenset(values)), []).append(values)
        else:
            await self._insert_many(table, [values])

    async def _insert_many(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.insert(table), rows)
