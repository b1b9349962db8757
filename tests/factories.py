"""Rows by plain inserts: one of the two ways to make a run without processes.

Use it when the test is about reads: any state can be written at once, including one that no sequence of moves leads to
within a test. ``LiveRun`` (live_run.py) builds on it, for a run that changes while the test follows it. When the test
is about the moves themselves, use ``ByHand`` (moved_runs.py), which goes through ``services.state``. When processes
matter, use the ``Engine`` of tests/execution.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import (
    artifacts,
    blobs,
    datasets,
    metadata,
    metric_points,
    model_alias_moves,
    model_aliases,
    model_versions,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    registered_models,
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
from app.storage.base import StoredBlob

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
_PHASES = {StageStatus.PENDING: Phase.BLOCKED, StageStatus.RUNNING: Phase.RUNNING}


class Factory:
    """Inserts one row per call and returns its id; every column without a value gets a valid one.

    Each call commits, unless ``target`` is a connection: then the rows become part of its transaction.
    """

    def __init__(self, target: AsyncEngine | AsyncConnection) -> None:
        self._target = target
        self._metric_numbers = itertools.count(1)
        self._postponed: dict[tuple[sa.Table, frozenset[str]], list[dict[str, Any]]] | None = None

    @contextlib.asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """Postpone the inserts of the block to its end, and make them with a few statements."""
        self._postponed = postponed = {}
        yield
        self._postponed = None
        async with self._transaction() as connection:
            for table in metadata.sorted_tables:
                for (of_table, _), rows in postponed.items():
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
        """The row of bytes as if they were stored; returns their digest."""
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

    async def registered_model(self, name: str, **values: Any) -> uuid.UUID:
        return await self._insert_with_id(registered_models, name=name, **values)

    async def model_version(
        self, registered_model_id: uuid.UUID, version: int, model_id: uuid.UUID, **values: Any
    ) -> uuid.UUID:
        row = {"registered_model_id": registered_model_id, "version": version, "model_id": model_id}
        return await self._insert_with_id(model_versions, **row, **values)

    async def model_alias(
        self, registered_model_id: uuid.UUID, alias: str, version_id: uuid.UUID, **values: Any
    ) -> None:
        row = {"registered_model_id": registered_model_id, "alias": alias, "version_id": version_id}
        await self._insert(model_aliases, **{**row, "is_protected": False, **values})

    async def alias_move(self, registered_model_id: uuid.UUID, seq: int, **values: Any) -> uuid.UUID:
        defaults = {"alias": "champion", "kind": "SET", "to_version": 1, "is_protected": False}
        row = {"registered_model_id": registered_model_id, "seq": seq, **defaults, **values}
        return await self._insert_with_id(model_alias_moves, **row)

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

    async def stored_blob(self, blob: StoredBlob) -> None:
        """Does nothing if there is one: several artifacts may have the same bytes."""
        row = {"sha256": blob.sha256, "size_bytes": blob.size_bytes, "storage_type": blob.storage_type}
        async with self._transaction() as connection:
            await connection.execute(insert(blobs).values(row).on_conflict_do_nothing())

    async def samples(
        self,
        run_id: uuid.UUID,
        stage_run_id: uuid.UUID,
        memory_bytes: list[int],
        *,
        first_seq: int = 1,
        attempt: int = 1,
    ) -> None:
        """One sample per second, numbered from ``first_seq``."""
        rows = [
            {
                "run_id": run_id,
                "seq": number,
                "stage_run_id": stage_run_id,
                "attempt": attempt,
                "at": NOON + dt.timedelta(seconds=number),
                "cpu_percent": float(number),
                "memory_bytes": memory,
                "process_count": 1,
            }
            for number, memory in enumerate(memory_bytes, start=first_seq)
        ]
        await self._insert_many(resource_samples, rows)

    async def metric(self, stage_run_id: uuid.UUID, name: str, values: list[float]) -> None:
        """The values of one metric at the steps 0, 1, 2..."""
        async with self._transaction() as connection:
            run_id = await connection.scalar(
                sa.select(stage_runs.c.pipeline_run_id).where(stage_runs.c.id == stage_run_id)
            )
        numbered = [(next(self._metric_numbers), step, value) for step, value in enumerate(values)]
        await self.metric_points(run_id, stage_run_id, name, numbered)

    async def metric_points(
        self,
        run_id: uuid.UUID,
        stage_run_id: uuid.UUID,
        name: str,
        numbered: Sequence[tuple[int, int, float]],
    ) -> None:
        """Points (seq, step, value) of one metric."""
        of_stage = {"run_id": run_id, "stage_run_id": stage_run_id, "attempt": 1, "name": name}
        rows = [{**of_stage, "seq": seq, "step": step, "value": value} for seq, step, value in numbered]
        await self._insert_many(metric_points, rows)

    async def event(self, run_id: uuid.UUID, seq: int, kind: str, **values: Any) -> None:
        await self._insert(run_events, run_id=run_id, seq=seq, kind=kind, **{"payload": {}, **values})

    async def _insert_with_id(self, table: sa.Table, **values: Any) -> uuid.UUID:
        row_id: uuid.UUID = values.setdefault("id", new_id())
        await self._insert(table, **values)
        return row_id

    async def _insert(self, table: sa.Table, **values: Any) -> None:
        if self._postponed is not None:
            self._postponed.setdefault((table, frozenset(values)), []).append(values)
        else:
            await self._insert_many(table, [values])

    async def _insert_many(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.insert(table), rows)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        if isinstance(self._target, AsyncConnection):
            yield self._target
        else:
            async with self._target.begin() as connection:
                yield connection
