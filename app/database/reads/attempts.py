"""Reads of the engine: what an attempt needs to run, and the attempts of a host."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.claims import IS_CURRENT, is_lost, is_unschedulable
from app.database.tables import artifacts, pipeline_runs, stage_attempts, stage_runs, workers
from app.domain.attempts import AttemptId, AttemptKey
from app.domain.keys import from_json
from app.domain.moves import ACTIVE_PHASES, STOPPABLE_PHASES
from app.domain.specs import StageConfig
from app.domain.vocabulary import ArtifactStatus, Phase, RunStatus


@dataclass(frozen=True)
class Attempt:
    """One attempt of a stage run, with what its supervisor needs; offsets in bytes."""

    run_id: uuid.UUID
    stage_run_id: uuid.UUID
    number: int
    stage_name: str
    spec: dict[str, Any]
    depends_on: list[uuid.UUID]
    executor: str
    """The name of the executor that runs it."""
    phase: Phase
    seconds_to_deadline: float | None
    """Time left until the deadline of the run when this was read, by the clock of the database."""
    stop_requested_at: datetime | None
    cancel_requested_at: datetime | None
    journal_offset: int
    metrics_offset: int

    @property
    def key(self) -> AttemptKey:
        """Identifies it in the database."""
        return AttemptKey(self.run_id, self.stage_run_id, self.number)

    @cached_property
    def config(self) -> StageConfig:
        """How the stage is executed: its execution spec."""
        return from_json(StageConfig, self.spec)

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether the end of the stage run, or of its run, was requested."""
        return self.stop_requested_at is not None or self.cancel_requested_at is not None

    @property
    def id(self) -> str:
        """Identifies it on its host."""
        return str(self.key)


_COLUMNS: list[sa.ColumnElement[Any]] = [
    stage_runs.c.pipeline_run_id,
    stage_runs.c.id,
    stage_runs.c.attempt_number,
    stage_runs.c.name,
    stage_runs.c.spec,
    stage_runs.c.depends_on,
    stage_attempts.c.executor,
    stage_runs.c.phase,
    sa.cast(sa.extract("epoch", pipeline_runs.c.deadline_at - sa.func.clock_timestamp()), sa.Double),
    stage_runs.c.stop_requested_at,
    pipeline_runs.c.cancel_requested_at,
    stage_attempts.c.journal_offset,
    stage_attempts.c.metrics_offset,
]


def _active_attempts() -> sa.Select[Any]:
    return (
        sa.select(*_COLUMNS)
        .join(pipeline_runs, pipeline_runs.c.id == stage_runs.c.pipeline_run_id)
        .join(stage_attempts, IS_CURRENT)
        .where(stage_runs.c.phase.in_(ACTIVE_PHASES))
    )


async def active_attempt(connection: AsyncConnection, attempt_id: str) -> Attempt | None:
    """The attempt, as long as it is active; None if it has ended or a later one has replaced it."""
    this = AttemptId.parse(attempt_id)
    if this is None:
        return None
    row = (await connection.execute(_active_attempt(), this._asdict())).one_or_none()
    return None if row is None else Attempt(*row)


@cache
def _active_attempt() -> sa.Select[Any]:
    return _active_attempts().where(
        stage_runs.c.id == sa.bindparam("stage_run_id"), stage_runs.c.attempt_number == sa.bindparam("number")
    )


async def attempts_of_host(connection: AsyncConnection, host_id: uuid.UUID) -> list[Attempt]:
    """The active attempts of this host."""
    rows = await connection.execute(_active_attempts().where(stage_attempts.c.host_id == host_id))
    return [Attempt(*row) for row in rows]


async def attempts_to_stop(connection: AsyncConnection, host_id: uuid.UUID) -> list[tuple[str, str]]:
    """(id, name of the executor) of the host's attempts that are to be stopped."""
    statement = (
        sa.select(stage_runs.c.id, stage_runs.c.attempt_number, stage_attempts.c.executor)
        .join(stage_attempts, IS_CURRENT)
        .where(
            stage_attempts.c.host_id == host_id,
            stage_runs.c.phase.in_(STOPPABLE_PHASES),
            stage_runs.c.stop_requested_at.is_not(None),
        )
    )
    return [(str(AttemptId(row[0], row[1])), row[2]) for row in await connection.execute(statement)]


async def lost_attempts(connection: AsyncConnection, lost_after_seconds: float) -> list[AttemptKey]:
    """Active attempts of hosts without a live lease for that long."""
    statement = (
        sa.select(stage_runs.c.pipeline_run_id, stage_runs.c.id, stage_runs.c.attempt_number)
        .join(stage_attempts, IS_CURRENT)
        .where(stage_runs.c.phase.in_(ACTIVE_PHASES), is_lost(lost_after_seconds))
    )
    return [AttemptKey(*row) for row in await connection.execute(statement)]


async def evidence_of_loss(
    connection: AsyncConnection, key: AttemptKey, lost_after_seconds: float
) -> dict[str, Any] | None:
    """The host of a lost attempt, its worker, and the end of its lease; None if the attempt is not lost."""
    columns: list[sa.ColumnElement[Any]] = [
        stage_attempts.c.host_id,
        workers.c.id,
        workers.c.host_name,
        workers.c.lease_until,
        sa.func.now() - workers.c.lease_until,
    ]
    statement = (
        sa.select(*columns)
        .outerjoin(workers, workers.c.host_id == stage_attempts.c.host_id)
        .where(
            stage_attempts.c.stage_run_id == key.stage_run_id,
            stage_attempts.c.attempt == key.number,
            is_lost(lost_after_seconds),
        )
        .order_by(workers.c.lease_until.desc().nulls_last())
        .limit(1)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return {
        "hostId": str(row[0]),
        "workerId": row[1] and str(row[1]),
        "hostName": row[2],
        "leaseUntil": row[3] and row[3].isoformat(),
        "silentSeconds": row[4] and round(row[4].total_seconds(), 3),
    }


async def unschedulable_stages(
    connection: AsyncConnection, lost_after_seconds: float
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """(run, stage run) of ready stage runs that are too large for every worker that is alive or may return."""
    now = sa.func.now()
    statement = (
        sa.select(stage_runs.c.pipeline_run_id, stage_runs.c.id)
        .join(pipeline_runs, pipeline_runs.c.id == stage_runs.c.pipeline_run_id)
        .where(
            pipeline_runs.c.status == RunStatus.RUNNING,
            stage_runs.c.phase == Phase.READY,
            sa.func.coalesce(stage_runs.c.not_before, now) <= now,
            is_unschedulable(lost_after_seconds),
        )
    )
    return [(row[0], row[1]) for row in await connection.execute(statement)]


@dataclass(frozen=True)
class InputFile:
    """A file that an attempt reads at ``<inputs>/<dependency>/<relative_path>``."""

    dependency: str
    relative_path: str
    sha256: str


async def inputs_of(connection: AsyncConnection, depends_on: Sequence[uuid.UUID]) -> list[InputFile]:
    """The output files of these stage runs, without captured logs; of a reused stage run, those of its source."""
    rows = await connection.execute(_inputs(), {"depends_on": list(depends_on)})
    return [InputFile(*row) for row in rows]


@cache
def _inputs() -> sa.Select[Any]:
    source = stage_runs.alias("source")
    columns: list[sa.Column[Any]] = [stage_runs.c.name, artifacts.c.relative_path, artifacts.c.sha256]
    return (
        sa.select(*columns)
        .join(source, source.c.id == sa.func.coalesce(stage_runs.c.reused_from_id, stage_runs.c.id))
        .join(artifacts, artifacts.c.stage_run_id == source.c.id)
        .where(
            stage_runs.c.id == sa.any_(sa.bindparam("depends_on", type_=sa.ARRAY(sa.Uuid))),
            artifacts.c.attempt_number == source.c.attempt_number,
            artifacts.c.status == ArtifactStatus.READY,
            ~artifacts.c.is_captured_log,
        )
    )
