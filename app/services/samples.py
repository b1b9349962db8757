"""Stores what an attempt reports while it runs: resource samples and metric points, each report once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.broker.topics import metrics_topic, samples_topic
from app.database.models import metric_points, pipeline_runs, resource_samples, stage_attempts
from app.domain.attempts import AttemptKey
from app.domain.stage_reports import MetricPoint
from app.services.run_change import Publisher


@dataclass(frozen=True)
class Sample:
    """Resources of an attempt's whole process tree at a moment; I/O counts are totals since its start."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    process_count: int
    read_bytes: int | None = None
    write_bytes: int | None = None


@dataclass(frozen=True)
class Report:
    """What was read from an attempt's files, and up to which byte (``journal_offset``, ``metrics_offset``)."""

    samples: Sequence[Sample]
    points: Sequence[MetricPoint]
    journal_offset: int
    metrics_offset: int


async def store_report(
    engine: AsyncEngine,
    hints: Publisher,
    key: AttemptKey,
    since: tuple[int, int],
    report: Report,
) -> bool:
    """Advances the attempt's offsets from ``since`` (journal, metrics) and stores what lies between.

    False, with nothing stored, when the offsets are no longer there (another supervisor read these bytes) or the
    attempt is over, because it was given up as lost.
    """
    async with engine.begin() as connection:
        if report.samples or report.points:
            await _lock_run(connection, key.run_id)
        if not await _advance(connection, key, since, report):
            return False
        if report.samples:
            await _insert_samples(connection, key, report.samples)
        if report.points:
            await _insert_points(connection, key, report.points)
    if report.samples:
        hints.publish_local(samples_topic(key.run_id))
    if report.points:
        hints.publish_local(metrics_topic(key.run_id))
    return True


async def _lock_run(connection: AsyncConnection, run_id: uuid.UUID) -> None:
    """Before the attempt's row, as everybody does who needs both."""
    statement = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == run_id)
    await connection.execute(statement.with_for_update(key_share=True))


async def _advance(
    connection: AsyncConnection, key: AttemptKey, since: tuple[int, int], report: Report
) -> bool:
    statement = (
        sa.update(stage_attempts)
        .where(
            stage_attempts.c.stage_run_id == key.stage_run_id,
            stage_attempts.c.attempt == key.number,
            stage_attempts.c.journal_offset == since[0],
            stage_attempts.c.metrics_offset == since[1],
            stage_attempts.c.finished_at.is_(None),
        )
        .values(journal_offset=report.journal_offset, metrics_offset=report.metrics_offset)
    )
    return (await connection.execute(statement)).rowcount == 1


async def _insert_samples(
    connection: AsyncConnection,
    key: AttemptKey,
    samples: Sequence[Sample],
) -> None:
    first = await _take_numbers(connection, key.run_id, pipeline_runs.c.last_sample_seq, len(samples))
    rows = [
        {
            "run_id": key.run_id,
            "seq": first + index,
            "stage_run_id": key.stage_run_id,
            "attempt": key.number,
            "at": sample.at,
            "cpu_percent": sample.cpu_percent,
            "memory_bytes": sample.memory_bytes,
            "process_count": sample.process_count,
            "read_bytes": sample.read_bytes,
            "write_bytes": sample.write_bytes,
        }
        for index, sample in enumerate(samples)
    ]
    await connection.execute(sa.insert(resource_samples), rows)


async def _insert_points(
    connection: AsyncConnection,
    key: AttemptKey,
    points: Sequence[MetricPoint],
) -> None:
    first = await _take_numbers(connection, key.run_id, pipeline_runs.c.last_metric_seq, len(points))
    read_at = datetime.now(UTC)
    rows = [
        {
            "run_id": key.run_id,
            "seq": first + index,
            "stage_run_id": key.stage_run_id,
            "attempt": key.number,
            "name": point.name,
            "step": point.step,
            "value": point.value,
            "at": point.at or read_at,
        }
        for index, point in enumerate(points)
    ]
    await connection.execute(sa.insert(metric_points), rows)


async def _take_numbers(
    connection: AsyncConnection, run_id: uuid.UUID, last: sa.Column[int], count: int
) -> int:
    """The first of ``count`` numbers of the run; its row is locked by it, so a reader's cursor skips none."""
    statement = (
        sa.update(pipeline_runs)
        .where(pipeline_runs.c.id == run_id)
        .values({last: last + count, pipeline_runs.c.updated_at: pipeline_runs.c.updated_at})
        .returning(last)
    )
    taken: int = (await connection.execute(statement)).scalar_one()
    return taken - count + 1
