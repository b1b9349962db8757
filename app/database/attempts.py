"""Reads of the engine: what an attempt needs to run, and which attempts belong to whom."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.claims import ACTIVE_PHASES
from app.database.models import artifacts, pipeline_runs, stage_attempts, stage_runs
from app.domain.statuses import ArtifactStatus, Phase


@dataclass(frozen=True)
class Attempt:
    """One attempt of a stage run, as the supervisor that drives it sees it; offsets in bytes."""

    run_id: uuid.UUID
    stage_run_id: uuid.UUID
    number: int
    stage_name: str
    spec: dict[str, Any]
    depends_on: list[uuid.UUID]
    phase: Phase
    deadline_at: datetime | None
    stop_requested_at: datetime | None
    journal_offset: int
    metrics_offset: int

    @property
    def id(self) -> str:
        """The name of the attempt's folder."""
        return f"{self.stage_run_id}.{self.number}"


_COLUMNS: list[sa.ColumnElement[Any]] = [
    stage_runs.c.pipeline_run_id,
    stage_runs.c.id,
    stage_runs.c.attempt_number,
    stage_runs.c.name,
    stage_runs.c.spec,
    stage_runs.c.depends_on,
    stage_runs.c.phase,
    pipeline_runs.c.deadline_at,
    stage_runs.c.stop_requested_at,
    stage_attempts.c.journal_offset,
    stage_attempts.c.metrics_offset,
]


def _in_hand() -> sa.Select[Any]:
    current = sa.and_(
        stage_attempts.c.stage_run_id == stage_runs.c.id,
        stage_attempts.c.attempt == stage_runs.c.attempt_number,
    )
    return (
        sa.select(*_COLUMNS)
        .join(pipeline_runs, pipeline_runs.c.id == stage_runs.c.pipeline_run_id)
        .join(stage_attempts, current)
        .where(stage_runs.c.phase.in_(ACTIVE_PHASES))
    )


async def attempt_in_hand(connection: AsyncConnection, stage_run_id: uuid.UUID) -> Attempt | None:
    """The current attempt of a stage run, if it has one that is not over."""
    row = (await connection.execute(_in_hand().where(stage_runs.c.id == stage_run_id))).one_or_none()
    return None if row is None else Attempt(*row)


async def attempts_of_host(connection: AsyncConnection, host_id: uuid.UUID) -> list[Attempt]:
    """Attempts that are not over and whose files are on this host."""
    rows = await connection.execute(_in_hand().where(stage_attempts.c.host_id == host_id))
    return [Attempt(*row) for row in rows]


async def attempts_to_stop(connection: AsyncConnection, worker_id: uuid.UUID) -> list[str]:
    """Ids of the worker's attempts whose end was asked for."""
    statement = sa.select(stage_runs.c.id, stage_runs.c.attempt_number).where(
        stage_runs.c.worker_id == worker_id,
        stage_runs.c.phase.in_((Phase.CLAIMED, Phase.RUNNING)),
        stage_runs.c.stop_requested_at.is_not(None),
    )
    return [f"{row[0]}.{row[1]}" for row in await connection.execute(statement)]


@dataclass(frozen=True)
class InputFile:
    """A file an attempt finds at ``<inputs>/<dependency>/<relative_path>``."""

    dependency: str
    relative_path: str
    sha256: str


async def inputs_of(connection: AsyncConnection, depends_on: Sequence[uuid.UUID]) -> list[InputFile]:
    """Every file the dependencies left behind; their captured logs are not among them.

    A reused stage run answers the files of its source.
    """
    source = stage_runs.alias("source")
    columns: list[sa.Column[Any]] = [stage_runs.c.name, artifacts.c.relative_path, artifacts.c.sha256]
    statement = (
        sa.select(*columns)
        .join(source, source.c.id == sa.func.coalesce(stage_runs.c.reused_from_id, stage_runs.c.id))
        .join(artifacts, artifacts.c.stage_run_id == source.c.id)
        .where(
            stage_runs.c.id == sa.any_(sa.literal(list(depends_on), sa.ARRAY(sa.Uuid))),
            artifacts.c.attempt_number == source.c.attempt_number,
            artifacts.c.status == ArtifactStatus.READY,
            ~artifacts.c.is_captured_log,
        )
    )
    return [InputFile(*row) for row in await connection.execute(statement)]
