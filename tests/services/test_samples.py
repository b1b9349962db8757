"""Reports of running attempts are stored once each, numbered without gap, and never wait for each other for ever."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from app.database.tables import metric_points, resource_samples, stage_attempts
from app.domain.stage_reports import MetricPoint
from app.services.samples import Offsets, Report, Sample, store_reports
from app.services.state import attempt_reports
from tests.moved_runs import ByHand, key_of, stage
from tests.registered_workers import register_worker

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SAMPLE = Sample(NOON, cpu_percent=50.0, memory_bytes=2**40, process_count=1)


async def reported(
    by_hand: ByHand,
    row: sa.Row[Any],
    since: tuple[int, int],
    until: tuple[int, int],
    samples: int = 1,
    points: Sequence[MetricPoint] = (),
) -> bool:
    report = Report(key_of(row), Offsets(*since), Offsets(*until), [SAMPLE] * samples, points)
    return bool(await store_reports(by_hand.engine, by_hand.notifier, [report]))


async def numbers(by_hand: ByHand, run_id: uuid.UUID) -> list[int]:
    statement = sa.select(resource_samples.c.seq).where(resource_samples.c.run_id == run_id)
    return [row.seq for row in await by_hand.rows(statement.order_by(resource_samples.c.seq))]


async def test_two_supervisors_that_read_the_same_bytes_store_them_once(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    points = [MetricPoint("loss", 1, 0.5)]
    both = [reported(by_hand, row, (0, 0), (100, 20), 3, points) for _ in range(2)]
    assert sorted(await asyncio.gather(*both)) == [False, True]
    assert await numbers(by_hand, run_id) == [1, 2, 3]
    assert len(await by_hand.rows(sa.select(metric_points))) == 1
    (attempt,) = await by_hand.rows(sa.select(stage_attempts))
    assert (attempt.journal_offset, attempt.metrics_offset) == (100, 20)


async def test_samples_of_stages_side_by_side_are_numbered_within_their_run(by_hand: ByHand) -> None:
    run_id = await by_hand.started(*[stage(f"s{n}") for n in range(4)])
    rows = [await by_hand.claim() for _ in range(4)]
    for step in range(5):
        since, until = (step, 0), (step + 1, 0)
        await asyncio.gather(*[reported(by_hand, row, since, until, 2) for row in rows if row])
    assert await numbers(by_hand, run_id) == list(range(1, 41))
    assert (await by_hand.run(run_id)).last_sample_seq == 40


async def test_a_report_changes_neither_the_runs_events_nor_when_it_was_updated(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    before = await by_hand.run(run_id)
    await reported(by_hand, row, (0, 0), (10, 0))
    after = await by_hand.run(run_id)
    assert (after.updated_at, after.last_event_seq) == (before.updated_at, before.last_event_seq)


async def test_points_of_one_report_with_and_without_a_time_are_all_stored(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    points = [
        MetricPoint("loss", 1, float("nan"), NOON),
        MetricPoint("loss", 2, float("-inf")),
        MetricPoint("ä🐧", -(2**63), 1e308),
    ]
    assert await reported(by_hand, row, (0, 0), (0, 9), 0, points)
    stored = await by_hand.rows(sa.select(metric_points).order_by(metric_points.c.seq))
    assert [(point.name, point.step) for point in stored] == [(point.name, point.step) for point in points]
    assert stored[0].at == NOON
    assert stored[1].at is not None


async def test_reports_and_an_adoption_at_once_do_not_deadlock(by_hand: ByHand) -> None:
    """Both need the run's row and the attempt's row."""
    await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    other = await register_worker(by_hand.engine, by_hand.host_id, slots=4)
    for step in range(15):
        results = await asyncio.gather(
            reported(by_hand, row, (step, 0), (step + 1, 0)),
            attempt_reports.adopt_attempt(by_hand.engine, by_hand.notifier, key_of(row), other),
        )
        assert all(results)


async def test_points_of_stages_side_by_side_are_numbered_within_their_run(by_hand: ByHand) -> None:
    run_id = await by_hand.started(*[stage(f"s{n}") for n in range(4)])
    rows = [await by_hand.claim() for _ in range(4)]
    points = [MetricPoint("loss", 1, 0.5), MetricPoint("loss", 2, 0.25)]
    for step in range(5):
        since, until = (0, step), (0, step + 1)
        await asyncio.gather(*[reported(by_hand, row, since, until, 0, points) for row in rows if row])
    statement = sa.select(metric_points.c.seq).where(metric_points.c.run_id == run_id)
    stored = await by_hand.rows(statement.order_by(metric_points.c.seq))
    assert [row.seq for row in stored] == list(range(1, 41))
    assert (await by_hand.run(run_id)).last_metric_seq == 40


async def test_reports_of_many_runs_are_stored_together_each_numbered_in_its_own(by_hand: ByHand) -> None:
    runs = [await by_hand.started(stage("a"), stage("b")) for _ in range(3)]
    rows = [row for _ in range(6) if (row := await by_hand.claim())]
    points = [MetricPoint("loss", 1, 0.5)]
    reports = [Report(key_of(row), Offsets(0, 0), Offsets(9, 9), [SAMPLE] * 2, points) for row in rows]
    late = Report(key_of(rows[0])._replace(number=7), Offsets(0, 0), Offsets(9, 9), [SAMPLE])
    stored = await store_reports(by_hand.engine, by_hand.notifier, [late, *reports])
    assert stored == {key_of(row) for row in rows}
    for run_id in runs:
        assert await numbers(by_hand, run_id) == [1, 2, 3, 4]
        assert (await by_hand.run(run_id)).last_metric_seq == 2


async def test_two_workers_with_reports_of_the_same_runs_do_not_deadlock(by_hand: ByHand) -> None:
    for _ in range(4):
        await by_hand.started(stage("a"), stage("b"))
    rows = [row for _ in range(8) if (row := await by_hand.claim())]
    mine, theirs = rows[:4] + rows[6:], rows[4:6]
    for step in range(10):
        since, until = Offsets(step, 0), Offsets(step + 1, 0)
        batches = [
            [Report(key_of(row), since, until, [SAMPLE]) for row in part] for part in (mine, theirs[::-1])
        ]
        stored = await asyncio.gather(
            *[store_reports(by_hand.engine, by_hand.notifier, batch) for batch in batches]
        )
        assert [len(part) for part in stored] == [6, 2]
