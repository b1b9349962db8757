"""Stores what attempts report while they run: resource samples and metric points, each report once."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import metric_points, pipeline_runs, resource_samples, stage_attempts
from app.domain.attempts import AttemptKey
from app.domain.stage_reports import MetricPoint
from app.notifications.notifier import Notifier
from app.notifications.topics import metrics_topic, samples_topic


@dataclass(frozen=True)
class Sample:
    """Resources of an attempt's whole process tree at a moment; I/O counts are totals since its start."""

    at: datetime
    cpu_percent: float
    memory_bytes: int
    process_count: int
    read_bytes: int | None = None
    write_bytes: int | None = None


class Offsets(NamedTuple):
    """How far the files of an attempt have been read, in bytes."""

    journal: int
    metrics: int


@dataclass(frozen=True)
class Report:
    """What an attempt's files hold between two places in them."""

    attempt: AttemptKey
    since: Offsets
    until: Offsets
    samples: Sequence[Sample] = ()
    points: Sequence[MetricPoint] = ()

    @property
    def row_count(self) -> int:
        """How many rows it becomes."""
        return len(self.samples) + len(self.points)


async def store_reports(
    engine: AsyncEngine, notifier: Notifier, reports: Collection[Report]
) -> set[AttemptKey]:
    """Stores the reports, one per attempt, and advances the attempts' offsets; all or nothing.

    Returns the attempts whose report was stored. The others have moved on: another supervisor has read these bytes, or
    the attempt has ended as lost.
    """
    async with engine.begin() as connection:
        await _lock_runs(connection, {report.attempt.run_id for report in reports})
        current = await _advance(connection, reports)
        stored = [report for report in reports if report.attempt in current]
        sampled = [report for report in stored if report.samples]
        measured = [report for report in stored if report.points]
        if sampled or measured:
            numbers = await _take_numbers(connection, stored)
            await _insert(connection, resource_samples, _sample_rows(sampled, numbers.samples))
            await _insert(connection, metric_points, _point_rows(measured, numbers.points))
    notifier.publish_local(
        *{samples_topic(report.attempt.run_id) for report in sampled},
        *{metrics_topic(report.attempt.run_id) for report in measured},
    )
    return current


async def _lock_runs(connection: AsyncConnection, run_ids: Collection[uuid.UUID]) -> None:
    """Locks the runs before the rows of their attempts, in the order of all transactions."""
    runs = pipeline_runs.c
    statement = sa.select(runs.id).where(runs.id == sa.any_(_array(run_ids, sa.Uuid))).order_by(runs.id)
    await connection.execute(statement.with_for_update(key_share=True))


async def _advance(connection: AsyncConnection, reports: Collection[Report]) -> set[AttemptKey]:
    """The attempts whose rows stood where their report begins."""
    columns = ("run_id", "stage_run_id", "number", "since_journal", "since_metrics", "journal", "metrics")
    rows = [(*report.attempt, *report.since, *report.until) for report in reports]
    kinds = (sa.Uuid, sa.Uuid, sa.Integer, *[sa.BigInteger] * 4)
    report = _table(columns, kinds, rows)
    attempts = stage_attempts.c
    statement = (
        sa.update(stage_attempts)
        .where(
            attempts.stage_run_id == report.c.stage_run_id,
            attempts.attempt == report.c.number,
            attempts.journal_offset == report.c.since_journal,
            attempts.metrics_offset == report.c.since_metrics,
            attempts.finished_at.is_(None),
        )
        .values(journal_offset=report.c.journal, metrics_offset=report.c.metrics)
        .returning(report.c.run_id, report.c.stage_run_id, report.c.number)
    )
    return {AttemptKey(*row) for row in await connection.execute(statement)}


class _Numbers(NamedTuple):
    """The numbers that follow in each run."""

    samples: dict[uuid.UUID, Iterator[int]]
    points: dict[uuid.UUID, Iterator[int]]


async def _take_numbers(connection: AsyncConnection, reports: Sequence[Report]) -> _Numbers:
    """As many as the runs need; their rows are locked, so a reader's cursor skips none."""
    samples: Counter[uuid.UUID] = Counter()
    points: Counter[uuid.UUID] = Counter()
    for report in reports:
        samples[report.attempt.run_id] += len(report.samples)
        points[report.attempt.run_id] += len(report.points)
    rows = [(run_id, samples[run_id], points[run_id]) for run_id in samples]
    wanted = _table(("run_id", "samples", "points"), (sa.Uuid, sa.BigInteger, sa.BigInteger), rows)
    runs = pipeline_runs.c
    statement = (
        sa.update(pipeline_runs)
        .where(runs.id == wanted.c.run_id)
        .values(
            last_sample_seq=runs.last_sample_seq + wanted.c.samples,
            last_metric_seq=runs.last_metric_seq + wanted.c.points,
            updated_at=runs.updated_at,
        )
        .returning(runs.id, runs.last_sample_seq, runs.last_metric_seq)
    )
    taken = (await connection.execute(statement)).all()
    return _Numbers(
        {run_id: count(last - samples[run_id] + 1) for run_id, last, _ in taken},
        {run_id: count(last - points[run_id] + 1) for run_id, _, last in taken},
    )


def _sample_rows(reports: Sequence[Report], numbers: dict[uuid.UUID, Iterator[int]]) -> list[dict[str, Any]]:
    return [
        {
            **_origin(report),
            "seq": next(numbers[report.attempt.run_id]),
            "at": sample.at,
            "cpu_percent": sample.cpu_percent,
            "memory_bytes": sample.memory_bytes,
            "process_count": sample.process_count,
            "read_bytes": sample.read_bytes,
            "write_bytes": sample.write_bytes,
        }
        for report in reports
        for sample in report.samples
    ]


def _point_rows(reports: Sequence[Report], numbers: dict[uuid.UUID, Iterator[int]]) -> list[dict[str, Any]]:
    read_at = datetime.now(UTC)
    return [
        {
            **_origin(report),
            "seq": next(numbers[report.attempt.run_id]),
            "name": point.name,
            "step": point.step,
            "value": point.value,
            "at": point.at or read_at,
        }
        for report in reports
        for point in report.points
    ]


def _origin(report: Report) -> dict[str, Any]:
    run_id, stage_run_id, number = report.attempt
    return {"run_id": run_id, "stage_run_id": stage_run_id, "attempt": number}


async def _insert(connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        await connection.execute(sa.insert(table), rows)


def _array(values: Collection[Any], kind: type[sa.types.TypeEngine[Any]]) -> sa.ColumnElement[Any]:
    return sa.literal(list(values), sa.ARRAY(kind))


def _table(
    names: Sequence[str], kinds: Sequence[type[sa.types.TypeEngine[Any]]], rows: Sequence[Sequence[Any]]
) -> sa.TableValuedAlias:
    """Rows as a table of the statement, so that it stays the same however many there are."""
    columns = [_array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    typed = [sa.column(name, kind) for name, kind in zip(names, kinds, strict=True)]
    return sa.func.unnest(*columns).table_valued(*typed).render_derived()
