"""Statements of the live streams: the rows after a cursor, and whether more can follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.reads.pages import Conditions
from app.database.tables import (
    artifacts,
    deleted_runs,
    metric_points,
    pipeline_runs,
    resource_samples,
    run_events,
    stage_runs,
)
from app.domain.vocabulary import ArtifactStatus

Row = sa.Row[*tuple[Any, ...]]
Rows = Sequence[Row]


async def run_tail(connection: AsyncConnection, run_id: UUID) -> Row | None:
    """``(status, last_event_seq, last_sample_seq, last_metric_seq)`` of a run, read at one moment."""
    runs = pipeline_runs.c
    statement = sa.select(runs.status, runs.last_event_seq, runs.last_sample_seq, runs.last_metric_seq).where(
        runs.id == run_id
    )
    return (await connection.execute(statement)).one_or_none()


async def events_after(connection: AsyncConnection, run_id: UUID, seq: int, limit: int) -> Rows:
    """Events ``(seq, kind, stage_run_id, payload, at)`` of a run after number ``seq``, in order.

    No lower number can appear later: transactions that add events lock the row of the run until they commit.
    """
    events = run_events.c
    statement = (
        sa.select(events.seq, events.kind, events.stage_run_id, events.payload, events.at)
        .where(events.run_id == run_id, events.seq > seq)
        .order_by(events.seq)
        .limit(limit)
    )
    return (await connection.execute(statement)).all()


async def samples_after(connection: AsyncConnection, run_id: UUID, seq: int, limit: int) -> Rows:
    """Resource samples of a run's stages after number ``seq``, in order."""
    return await _numbered_after(connection, resource_samples, run_id, seq, limit)


async def metrics_after(connection: AsyncConnection, run_id: UUID, seq: int, limit: int) -> Rows:
    """Metric points of a run's stages after number ``seq``, in the order in which they were stored."""
    return await _numbered_after(connection, metric_points, run_id, seq, limit)


async def _numbered_after(
    connection: AsyncConnection, table: sa.Table, run_id: UUID, seq: int, limit: int
) -> Rows:
    statement = (
        sa.select(table).where(table.c.run_id == run_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    )
    return (await connection.execute(statement)).all()


async def database_clock(connection: AsyncConnection) -> dt.datetime:
    """The current time of the database, whose clock sets ``updated_at`` and ``deleted_at``."""
    now: dt.datetime = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return now


async def run_changes_since(connection: AsyncConnection, since: dt.datetime) -> Rows:
    """``(run_id, at, deleted_from)`` of runs written or deleted since then, oldest change first.

    ``deleted_from`` is the pipeline of a deleted run, else None.
    """
    runs, gone = pipeline_runs.c, deleted_runs.c
    written = sa.select(
        runs.id.label("run_id"), runs.updated_at.label("at"), sa.null().cast(sa.Uuid).label("deleted_from")
    ).where(runs.updated_at >= since)
    deleted = sa.select(gone.run_id, gone.deleted_at, gone.pipeline_id).where(gone.deleted_at >= since)
    # One statement has one snapshot, so a run is in exactly one of the two parts.
    return (await connection.execute(written.union_all(deleted).order_by("at", "run_id"))).all()


async def matches_by_run(
    connection: AsyncConnection, run_ids: Sequence[UUID], matching: Conditions, candidates: Conditions
) -> dict[UUID, bool]:
    """Of these runs, those that fulfil ``candidates``: whether each one fulfils ``matching`` too."""
    runs = pipeline_runs.c
    statement = sa.select(runs.id, sa.and_(sa.true(), *matching).label("matches")).where(
        runs.id == sa.any_(sa.bindparam("ids", run_ids, sa.ARRAY(sa.Uuid))), *candidates
    )
    return {row.id: bool(row.matches) for row in await connection.execute(statement)}


async def stage_run_tail(connection: AsyncConnection, stage_run_id: UUID) -> Row | None:
    """``(pipeline_run_id, attempt_number, phase)`` of a stage run."""
    stages = stage_runs.c
    statement = sa.select(stages.pipeline_run_id, stages.attempt_number, stages.phase).where(
        stages.id == stage_run_id
    )
    return (await connection.execute(statement)).one_or_none()


async def stored_log(connection: AsyncConnection, stage_run_id: UUID, attempt: int) -> Row | None:
    """``(sha256, file_size, storage_type)`` of an attempt's log, once it is stored."""
    found = artifacts.c
    statement = sa.select(found.sha256, found.file_size, found.storage_type).where(
        found.stage_run_id == stage_run_id,
        found.attempt_number == attempt,
        found.is_captured_log,
        found.status == ArtifactStatus.READY,
        found.sha256.is_not(None),
    )
    return (await connection.execute(statement)).one_or_none()
