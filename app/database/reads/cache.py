"""Reads of earlier executions of a stage whose results a new stage run may reuse.

An execution is a stage run that was completed by a process of its own. ``cache_parts`` has everything that determines
its outputs, ``cache_key`` is the digest of that. An execution whose files changed while it ran has ``cache_parts``
only: it is unknown which version of the files its outputs belong to.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import artifacts, stage_runs
from app.domain.vocabulary import ArtifactStatus, StageStatus


@dataclass(frozen=True)
class Execution:
    """A completed stage run, and the key of its execution."""

    stage_run_id: uuid.UUID
    attempt_number: int
    digest: str | None
    key: dict[str, Any]


@dataclass(frozen=True)
class OutputFile:
    """An output file of an execution. ``size_bytes`` is None if unknown."""

    sha256: str | None
    size_bytes: int | None
    is_ready: bool


def _executions(stage_run_id: uuid.UUID) -> sa.Select[Any]:
    """The latest execution of the same stage of the pipeline."""
    this = stage_runs.alias("this")
    columns: list[sa.Column[Any]] = [
        stage_runs.c.id,
        stage_runs.c.attempt_number,
        stage_runs.c.cache_key,
        stage_runs.c.cache_parts,
    ]
    return (
        sa.select(*columns)
        .join(this, this.c.stage_id == stage_runs.c.stage_id)
        .where(this.c.id == stage_run_id, stage_runs.c.status == StageStatus.COMPLETED)
        .order_by(stage_runs.c.id.desc())
        .limit(1)
    )


async def execution_with_key(
    connection: AsyncConnection, stage_run_id: uuid.UUID, digest: str
) -> Execution | None:
    """The latest execution of the stage with this key."""
    statement = _executions(stage_run_id).where(stage_runs.c.cache_key == digest)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Execution(*row)


async def last_execution(connection: AsyncConnection, stage_run_id: uuid.UUID) -> Execution | None:
    """The latest execution of the stage with any key."""
    statement = _executions(stage_run_id).where(stage_runs.c.cache_parts.is_not(None))
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Execution(*row)


async def outputs_of(connection: AsyncConnection, execution: Execution) -> list[OutputFile]:
    """The output files of an execution, without its captured log."""
    columns: list[sa.ColumnElement[Any]] = [
        artifacts.c.sha256,
        artifacts.c.file_size,
        artifacts.c.status == ArtifactStatus.READY,
    ]
    statement = sa.select(*columns).where(
        artifacts.c.stage_run_id == execution.stage_run_id,
        artifacts.c.attempt_number == execution.attempt_number,
        ~artifacts.c.is_captured_log,
    )
    return [OutputFile(*row) for row in await connection.execute(statement)]


async def key_of(connection: AsyncConnection, stage_run_id: uuid.UUID) -> dict[str, Any] | None:
    """The key with which a stage run is executed."""
    statement = sa.select(stage_runs.c.cache_parts).where(stage_runs.c.id == stage_run_id)
    key: dict[str, Any] | None = (await connection.execute(statement)).scalar_one_or_none()
    return key


async def lock_execution(
    connection: AsyncConnection, stage_run_id: uuid.UUID, digest: str
) -> sa.Row[Any] | None:
    """The results to reuse of an execution, whose row is locked against deletion until the commit.

    FOR KEY SHARE, as a foreign key takes it. SKIP LOCKED, so None if the execution is being deleted: the transaction
    that deletes it may wait for the run that the caller has locked, so waiting for it could be a deadlock. None too if
    the execution was deleted.
    """
    columns: list[sa.Column[Any]] = [
        stage_runs.c.id,
        stage_runs.c.finish_reason,
        stage_runs.c.metrics,
        stage_runs.c.output_data,
    ]
    statement = (
        sa.select(*columns)
        .where(
            stage_runs.c.id == stage_run_id,
            stage_runs.c.cache_key == digest,
            stage_runs.c.status == StageStatus.COMPLETED,
        )
        .with_for_update(read=True, key_share=True, skip_locked=True)
    )
    return (await connection.execute(statement)).one_or_none()
