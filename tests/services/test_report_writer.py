"""The reports of a worker's attempts are stored together, and what happens to one of them does not happen to all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import create_engine
from app.database.outages import is_outage
from app.database.tables import resource_samples
from app.execution import reports
from app.execution.reports import ReportWriter
from app.services.samples import Offsets, Report, Sample
from tests.moved_runs import ByHand, key_of, stage

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNSTORABLE = 2**40


def report(row: sa.Row[Any], *, processes: int = 1, samples: int = 1) -> Report:
    sample = Sample(NOON, cpu_percent=50.0, memory_bytes=1, process_count=processes)
    return Report(key_of(row), Offsets(0, 0), Offsets(1, 0), [sample] * samples)


async def claimed(by_hand: ByHand, stages: int) -> list[sa.Row[Any]]:
    await by_hand.started(*[stage(f"s{number}") for number in range(stages)])
    return [row for _ in range(stages) if (row := await by_hand.claim())]


async def stored(by_hand: ByHand) -> int:
    return len(await by_hand.rows(sa.select(resource_samples)))


@pytest.fixture
async def dead_engine() -> AsyncIterator[AsyncEngine]:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/none")
    yield engine
    await engine.dispose()


@pytest.fixture
def commits(by_hand: ByHand) -> Iterator[list[object]]:
    """One item for every transaction that was committed; clear it as you like."""
    seen: list[object] = []
    remember = seen.append
    sa.event.listen(by_hand.engine.sync_engine, "commit", remember)
    yield seen
    sa.event.remove(by_hand.engine.sync_engine, "commit", remember)


async def test_reports_that_come_in_meanwhile_share_a_transaction(
    by_hand: ByHand, commits: list[object]
) -> None:
    rows = await claimed(by_hand, 20)
    writer = ReportWriter(by_hand.engine, by_hand.notifier)
    commits.clear()
    first = asyncio.create_task(writer.store(report(rows[0])))
    await asyncio.sleep(0)
    await asyncio.gather(first, *[writer.store(report(row)) for row in rows[1:]])
    assert await stored(by_hand) == 20
    assert len(commits) <= 2


async def test_a_transaction_holds_no_more_rows_than_it_should(
    by_hand: ByHand, commits: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "ROWS_PER_TRANSACTION", 5)
    rows = await claimed(by_hand, 4)
    writer = ReportWriter(by_hand.engine, by_hand.notifier)
    commits.clear()
    await asyncio.gather(*[writer.store(report(row, samples=3)) for row in rows])
    assert await stored(by_hand) == 12
    assert len(commits) == 4


async def test_a_report_that_cannot_be_stored_fails_alone(by_hand: ByHand) -> None:
    rows = await claimed(by_hand, 5)
    writer = ReportWriter(by_hand.engine, by_hand.notifier)
    mixed = [report(row, processes=UNSTORABLE if row is rows[2] else 1) for row in rows]
    results = await asyncio.gather(*map(writer.store, mixed), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, False, True, False, False]
    assert await stored(by_hand) == 4


async def test_an_outage_fails_all_who_wait_and_the_next_reports_are_stored(
    by_hand: ByHand, dead_engine: AsyncEngine
) -> None:
    rows = await claimed(by_hand, 3)
    writer = ReportWriter(dead_engine, by_hand.notifier)
    results = await asyncio.gather(*[writer.store(report(row)) for row in rows], return_exceptions=True)
    assert all(isinstance(result, Exception) and is_outage(result) for result in results)
    writer._engine = by_hand.engine
    await writer.store(report(rows[0]))
    assert await stored(by_hand) == 1


async def test_who_gives_up_waiting_takes_nothing_from_the_others(by_hand: ByHand) -> None:
    rows = await claimed(by_hand, 3)
    writer = ReportWriter(by_hand.engine, by_hand.notifier)
    waiting = [asyncio.create_task(writer.store(report(row))) for row in rows]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])
    assert await stored(by_hand) == 3
