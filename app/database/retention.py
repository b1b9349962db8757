"""Statements of the janitor: which rows are old, and their removal in batches.

The age of a run counts from the last change of its row: its end, or a later edit of its tags or notes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import (
    artifacts,
    blobs,
    deleted_runs,
    metric_points,
    model_versions,
    models,
    pipeline_runs,
    pipeline_stages,
    resource_samples,
    run_events,
    stage_attempts,
    stage_runs,
    workers,
)
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import StorageType

JANITOR_LOCK = 0x6D6C70_02


class JanitorLockTaken(Exception):
    """Another process holds the janitor lock."""


@contextlib.asynccontextmanager
async def janitor_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that holds the janitor lock; raises ``JanitorLockTaken`` at once if another one does."""
    async with engine.begin() as connection:
        acquired = sa.select(sa.func.pg_try_advisory_xact_lock(JANITOR_LOCK))
        if not (await connection.execute(acquired)).scalar_one():
            raise JanitorLockTaken
        yield connection


_RUN_IDS: sa.BindParameter[Any] = sa.bindparam("run_ids", type_=sa.ARRAY(sa.Uuid))
_RUNS = sa.func.unnest(_RUN_IDS).table_valued(sa.column("run_id", sa.Uuid), name="ended").render_derived()


@dataclass(frozen=True, eq=False)
class History:
    """Rows of a run that may be removed before it; ``is_of_run`` is the condition on a row of the current run."""

    name: str
    table: sa.Table
    is_of_run: sa.ColumnElement[bool]


_STAGE_RUNS = (
    sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == _RUNS.c.run_id).correlate(_RUNS)
)

SAMPLES = History("resource samples", resource_samples, resource_samples.c.run_id == _RUNS.c.run_id)
EVENTS = History("events", run_events, run_events.c.run_id == _RUNS.c.run_id)
POINTS = History("metric points", metric_points, metric_points.c.run_id == _RUNS.c.run_id)
LOGS = History(
    "logs", artifacts, sa.and_(artifacts.c.is_captured_log, artifacts.c.stage_run_id.in_(_STAGE_RUNS))
)


@dataclass(frozen=True, order=True)
class Age:
    """The position of a run in the order of age: runs are visited from the oldest to the youngest."""

    changed_at: dt.datetime
    run_id: UUID


OLDEST = Age(dt.datetime.min.replace(tzinfo=dt.UTC), UUID(int=0))


async def days_ago(connection: AsyncConnection, days: float) -> dt.datetime:
    """The time that many days ago, by the clock of the database."""
    statement = sa.select(sa.func.now() - dt.timedelta(days=days))
    moment: dt.datetime = (await connection.execute(statement)).scalar_one()
    return moment


async def ended_runs(
    connection: AsyncConnection, after: Age, until: dt.datetime, limit: int
) -> Sequence[Age]:
    """Final runs after this position in the order of age that have not changed since ``until``, oldest first."""
    return await _ages(connection, _ended(after, until), limit)


async def expired_runs(
    connection: AsyncConnection, after: Age, until: dt.datetime, limit: int
) -> Sequence[Age]:
    """The same without runs whose results a later run reuses, or with a model that is a registered version.

    They are retained as long as that run or version.
    """
    own, later = stage_runs.alias("own"), stage_runs.alias("later")
    reused = sa.exists().where(
        own.c.pipeline_run_id == pipeline_runs.c.id,
        later.c.reused_from_id == own.c.id,
        later.c.pipeline_run_id != own.c.pipeline_run_id,
    )
    of_run = stage_runs.alias("of_run")
    registered = sa.exists(
        sa.select(sa.literal(1))
        .select_from(of_run)
        .join(artifacts, artifacts.c.stage_run_id == of_run.c.id)
        .join(models, models.c.artifact_id == artifacts.c.id)
        .join(model_versions, model_versions.c.model_id == models.c.id)
        .where(of_run.c.pipeline_run_id == pipeline_runs.c.id)
    )
    return await _ages(connection, _ended(after, until).where(~reused, ~registered), limit)


def _ended(after: Age, until: dt.datetime) -> sa.Select[Any]:
    runs = pipeline_runs.c
    position = sa.tuple_(runs.updated_at, runs.id)
    return sa.select(runs.updated_at, runs.id).where(
        runs.status.in_(RUN_FINAL),
        runs.updated_at < until,
        runs.completed_at < until,
        position > sa.tuple_(sa.literal(after.changed_at), sa.literal(after.run_id)),
    )


async def _ages(connection: AsyncConnection, statement: sa.Select[Any], limit: int) -> Sequence[Age]:
    runs = pipeline_runs.c
    rows = await connection.execute(statement.order_by(runs.updated_at, runs.id).limit(limit))
    return [Age(*row) for row in rows]


async def remove_history(
    connection: AsyncConnection, history: History, run_ids: Sequence[UUID], limit: int
) -> int:
    """Remove at most ``limit`` rows of these runs, the oldest of each run first; returns how many."""
    address: sa.ColumnClause[Any] = sa.literal_column("ctid")
    of_run = (
        sa.select(address.label("address"))
        .select_from(history.table)
        .where(history.is_of_run)
        .order_by(*history.table.primary_key)
        .limit(limit)
        .correlate(_RUNS)
        .lateral("of_run")
    )
    found = sa.select(of_run.c.address).select_from(_RUNS).join(of_run, sa.true()).limit(limit)
    addresses = sa.func.array(found.correlate(None).scalar_subquery())
    statement = sa.delete(history.table).where(address == sa.func.any(addresses))
    return (await connection.execute(statement, {"run_ids": list(run_ids)})).rowcount


async def remove_unused_blobs(
    connection: AsyncConnection, storage_type: StorageType, unused_for: dt.timedelta, limit: int
) -> list[str]:
    """Remove the rows of blobs that no artifact uses; returns their digests, whose bytes the caller deletes.

    Publication of a blob that exists already locks its row and updates ``touched_at``. A row locked by such a
    transaction is skipped, and one that was touched within ``unused_for`` stays.
    """
    used = sa.exists().where(artifacts.c.sha256 == blobs.c.sha256)
    found = (
        sa.select(blobs.c.sha256)
        .where(blobs.c.storage_type == storage_type, blobs.c.touched_at < sa.func.now() - unused_for, ~used)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    digests = list((await connection.execute(found)).scalars())
    await connection.execute(sa.delete(blobs).where(blobs.c.sha256 == sa.any_(_texts(digests))))
    return digests


async def unknown_blobs(connection: AsyncConnection, digests: Collection[str]) -> set[str]:
    """Those of the digests that have no row."""
    known = sa.select(blobs.c.sha256).where(blobs.c.sha256 == sa.any_(_texts(digests)))
    return set(digests) - set((await connection.execute(known)).scalars())


def _texts(values: Collection[str]) -> sa.BindParameter[Any]:
    return sa.literal(list(values), sa.ARRAY(sa.String))


async def remove_dead_workers(connection: AsyncConnection, dead_for: dt.timedelta, limit: int) -> int:
    """Remove workers whose lease expired that long ago and that no attempt refers to."""
    named = sa.exists().where(stage_attempts.c.worker_id == workers.c.id)
    found = (
        sa.select(workers.c.id)
        .where(workers.c.lease_until < sa.func.now() - dead_for, ~named)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .correlate(None)
    )
    return (await connection.execute(sa.delete(workers).where(workers.c.id.in_(found)))).rowcount


async def remove_retired_stages(connection: AsyncConnection, limit: int) -> int:
    """Remove stages that are no longer part of their pipeline and that no run refers to."""
    used = sa.exists().where(stage_runs.c.stage_id == pipeline_stages.c.id)
    retired = sa.select(pipeline_stages.c.id).where(~pipeline_stages.c.is_active, ~used).limit(limit)
    statement = sa.delete(pipeline_stages).where(pipeline_stages.c.id.in_(retired.correlate(None)))
    return (await connection.execute(statement)).rowcount


async def remove_deletion_records(connection: AsyncConnection, deleted_for: dt.timedelta, limit: int) -> int:
    """Remove the records of runs that were deleted that long ago."""
    notes = deleted_runs.c
    old = sa.select(notes.run_id).where(notes.deleted_at < sa.func.now() - deleted_for).limit(limit)
    statement = sa.delete(deleted_runs).where(notes.run_id.in_(old.correlate(None)))
    return (await connection.execute(statement)).rowcount
