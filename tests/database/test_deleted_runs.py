"""The trigger records every deleted run, whatever statement deletes it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import deleted_runs, pipeline_runs, pipelines
from tests.factories import Factory

SLOW_SECONDS = 0.1


async def execute(engine: AsyncEngine, *statements: Any) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)


async def notes(engine: AsyncEngine) -> dict[uuid.UUID, tuple[uuid.UUID, dt.datetime]]:
    async with engine.connect() as connection:
        return {
            row.run_id: (row.pipeline_id, row.deleted_at)
            for row in await connection.execute(sa.select(deleted_runs))
        }


async def two_pipelines(engine: AsyncEngine) -> dict[uuid.UUID, uuid.UUID]:
    """Runs by id with their pipelines: three runs of each of two pipelines."""
    make = Factory(engine)
    return {
        await make.run(pipeline_id): pipeline_id
        for pipeline_id in [await make.pipeline() for _ in "ab"]
        for _ in "123"
    }


@pytest.mark.parametrize("table", [pipelines, pipeline_runs])
async def test_every_run_that_a_statement_deletes_is_recorded_with_its_pipeline(
    engine: AsyncEngine, table: sa.Table
) -> None:
    runs = await two_pipelines(engine)
    await execute(engine, sa.delete(table))
    assert {run_id: pipeline_id for run_id, (pipeline_id, _) in (await notes(engine)).items()} == runs


async def test_a_run_that_is_not_deleted_is_not_recorded(engine: AsyncEngine) -> None:
    kept, gone, *_ = await two_pipelines(engine)
    await execute(engine, sa.delete(pipeline_runs).where(pipeline_runs.c.id == gone))
    async with engine.connect() as connection:
        await connection.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id == kept))
        await connection.rollback()
    assert set(await notes(engine)) == {gone}


async def test_the_time_is_that_of_the_deletion_and_not_of_the_start_of_the_transaction(
    engine: AsyncEngine,
) -> None:
    run_id, *_ = await two_pipelines(engine)
    async with engine.begin() as connection:
        began = (await connection.execute(sa.select(sa.func.now()))).scalar_one()
        await connection.execute(sa.select(sa.func.pg_sleep(SLOW_SECONDS)))
        await connection.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id == run_id))
    _, deleted_at = (await notes(engine))[run_id]
    assert deleted_at - began >= dt.timedelta(seconds=SLOW_SECONDS)


async def test_a_restored_run_may_be_deleted_again(engine: AsyncEngine) -> None:
    run_id, *_ = await two_pipelines(engine)
    async with engine.connect() as connection:
        of_run = sa.select(pipeline_runs).where(pipeline_runs.c.id == run_id)
        row = (await connection.execute(of_run)).one()._asdict()
    delete = sa.delete(pipeline_runs).where(pipeline_runs.c.id == run_id)
    await execute(engine, delete)
    _, first = (await notes(engine))[run_id]
    await execute(engine, sa.insert(pipeline_runs).values(row), delete)
    _, second = (await notes(engine))[run_id]
    assert second > first
