"""Real scheduler processes: several at once, killed in the middle, asleep until something is due."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from app.database.tables import pipeline_runs, schedules
from app.domain.vocabulary import RunStatus, TriggerType
from app.execution import scheduler
from app.execution.scheduler import Scheduler
from app.services.pipelines import create_pipeline
from app.services.schedules import create_schedule
from tests.execution.conftest import Engine, stage
from tests.execution.test_restarts import worker_process

PATIENCE_SECONDS = 60.0
SCHEDULER = """
import asyncio, sys
from app.notifications.postgres import PostgresNotifier
from app.database.engine import create_engine
from app.execution.scheduler import Scheduler

async def main(url):
    async with PostgresNotifier(url) as notifier:
        await Scheduler(create_engine(url), notifier).run()

asyncio.run(main(sys.argv[1]))
"""


@contextlib.contextmanager
def scheduler_process(database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", SCHEDULER, database_url])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def scheduling(engine: Engine) -> AsyncIterator[None]:
    """A scheduler of this process."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Scheduler(engine.database, engine.notifier).run)
        yield
        tasks.cancel_scope.cancel()


async def schedule(engine: Engine, **draft: Any) -> uuid.UUID:
    pipeline = {"name": "scheduled", "stages": [stage("only")]}
    pipeline_id = await create_pipeline(engine.database, pipeline)
    draft = {"name": "often", "cron": "0 0 1 1 *", **draft}
    return await create_schedule(engine.database, engine.notifier, pipeline_id, draft)


async def set_next(engine: Engine, schedule_id: uuid.UUID, seconds: float) -> None:
    """It comes due so many seconds from now."""
    moment = sa.func.clock_timestamp() + dt.timedelta(seconds=seconds)
    async with engine.database.begin() as connection:
        await connection.execute(
            sa.update(schedules).where(schedules.c.id == schedule_id).values(next_run_at=moment)
        )


async def overdue_by_twenty_minutes(engine: Engine, schedule_id: uuid.UUID) -> None:
    moment = sa.func.date_trunc("minute", sa.func.clock_timestamp()) - dt.timedelta(minutes=20)
    async with engine.database.begin() as connection:
        await connection.execute(
            sa.update(schedules).where(schedules.c.id == schedule_id).values(next_run_at=moment)
        )


async def keys(engine: Engine) -> list[str]:
    return [row[0] for row in await engine.rows(sa.select(pipeline_runs.c.idempotency_key))]


async def until_runs(engine: Engine, count: int) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while len(await keys(engine)) < count:  # noqa: ASYNC110 (written by another process)
            await anyio.sleep(0.02)


async def test_two_processes_one_of_them_killed_start_each_moment_once(
    idle: Engine, database_url: str
) -> None:
    ids = [await schedule(idle, cron="* * * * *", missedPolicy="RUN_ALL") for _ in range(8)]
    for schedule_id in ids:
        await overdue_by_twenty_minutes(idle, schedule_id)
    with scheduler_process(database_url) as one, scheduler_process(database_url):
        await until_runs(idle, 10)
        one.send_signal(signal.SIGKILL)
        one.wait()
        await until_runs(idle, 80)
    found = await keys(idle)
    assert len(found) == len(set(found))
    for schedule_id in ids:
        # A minute may have begun meanwhile.
        assert 10 <= sum(str(schedule_id) in key for key in found) <= 12


async def test_a_process_killed_within_its_transaction_leaves_the_moment_to_the_next(
    idle: Engine, database_url: str
) -> None:
    schedule_id = await schedule(idle)
    await set_next(idle, schedule_id, -1)
    async with idle.database.connect() as blocker:
        await blocker.execute(sa.text("LOCK TABLE pipeline_runs IN SHARE MODE"))
        with scheduler_process(database_url) as process:
            await until_blocked(idle)
            process.send_signal(signal.SIGKILL)
            process.wait()
        await blocker.rollback()
    assert await keys(idle) == []
    with scheduler_process(database_url):
        await until_runs(idle, 1)
    (row,) = await idle.rows(sa.select(schedules))
    assert len(await keys(idle)) == 1
    assert row.last_run_id is not None
    assert row.next_run_at > row.last_run_at


async def until_blocked(engine: Engine) -> None:
    """Another process has moved ``next_run_at`` and waits to insert the run."""
    waiting = sa.text(
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'pipeline_runs'::regclass"
        " AND mode = 'RowExclusiveLock'"
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            async with engine.database.connect() as connection:
                if (await connection.execute(waiting)).first():
                    return
            await anyio.sleep(0.02)


async def test_it_sleeps_until_something_is_due(idle: Engine) -> None:
    schedule_id = await schedule(idle)
    await set_next(idle, schedule_id, 2)
    statements: list[str] = []

    def remember(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if "schedules" in statement:
            statements.append(statement)

    sa.event.listen(idle.database.sync_engine, "before_cursor_execute", remember)
    async with scheduling(idle):
        await anyio.sleep(1.5)
        asleep = len(statements)
        await until_runs(idle, 1)
    (row,) = await idle.rows(sa.select(schedules))
    (run,) = await idle.rows(sa.select(pipeline_runs))
    lateness = run.created_at - row.last_run_at
    assert dt.timedelta() < lateness < dt.timedelta(seconds=0.5)
    # What is due, and when the next one is.
    assert asleep <= 2


async def test_a_schedule_that_becomes_due_earlier_wakes_it(
    idle: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LONGEST_WAIT_SECONDS", 600.0)
    async with scheduling(idle):
        await anyio.sleep(0.3)
        schedule_id = await schedule(idle)
        await set_next(idle, schedule_id, -1)
        idle.notifier.publish("schedules")
        await until_runs(idle, 1)


async def test_a_schedule_that_fails_does_not_delay_the_others(idle: Engine) -> None:
    broken, sound = await schedule(idle), await schedule(idle)
    async with idle.database.begin() as connection:
        nowhere = {"time_zone": "Nowhere/Nothing"}
        await connection.execute(sa.update(schedules).where(schedules.c.id == broken).values(nowhere))
    for schedule_id in (broken, sound):
        await set_next(idle, schedule_id, -1)
    async with scheduling(idle):
        await until_runs(idle, 1)
    assert str(sound) in (await keys(idle))[0]


async def test_a_worker_runs_what_is_due(idle: Engine, database_url: str) -> None:
    schedule_id = await schedule(idle)
    await set_next(idle, schedule_id, 0.5)
    with worker_process(idle, database_url):
        await until_runs(idle, 1)
        (run,) = await idle.rows(sa.select(pipeline_runs))
        run = await idle.finished(run.id)
    assert (run.status, run.trigger_type) == (RunStatus.COMPLETED, TriggerType.SCHEDULED)
    assert run.environment == "development"
