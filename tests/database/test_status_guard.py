"""The triggers allow the same moves as the domain: every pair is tried on a real row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Set
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import pipeline_runs, pipeline_stages, pipelines, stage_runs
from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES, RUN_FINAL, STAGE_FINAL, STATUS_OF_PHASE
from app.domain.vocabulary import Phase, RunStatus, StageStatus, StageType

STATES = [(phase, status) for phase, status in STATUS_OF_PHASE.items()] + [
    (Phase.FINAL, status) for status in sorted(STAGE_FINAL)
]


async def a_run(connection: AsyncConnection, status: RunStatus) -> Any:
    pipeline_id, run_id = new_id(), new_id()
    await connection.execute(sa.insert(pipelines).values(id=pipeline_id, name="guarded"))
    await connection.execute(
        sa.insert(pipeline_runs).values(
            id=run_id, pipeline_id=pipeline_id, definition={}, **run_state(status)
        )
    )
    return run_id


def run_state(status: RunStatus) -> dict[str, Any]:
    return {"status": status, "completed_at": sa.func.now() if status in RUN_FINAL else None}


async def a_stage_run(connection: AsyncConnection, phase: Phase, status: StageStatus) -> Any:
    run_id = await a_run(connection, RunStatus.RUNNING)
    of_run = sa.select(pipeline_runs.c.pipeline_id).where(pipeline_runs.c.id == run_id)
    stage_id, stage_run_id = new_id(), new_id()
    await connection.execute(
        sa.insert(pipeline_stages).values(
            id=stage_id,
            pipeline_id=of_run.scalar_subquery(),
            name="guarded",
            stage_type=StageType.CLEANUP,
            order=0,
        )
    )
    await connection.execute(
        sa.insert(stage_runs).values(
            id=stage_run_id,
            pipeline_run_id=run_id,
            stage_id=stage_id,
            name="guarded",
            position=0,
            spec={},
            phase=phase,
            status=status,
        )
    )
    return stage_run_id


async def is_refused(
    connection: AsyncConnection, table: sa.Table, key: Any, values: Mapping[str, Any]
) -> bool:
    """Whether a trigger, and nothing else, refuses the update. The row is left unchanged."""
    attempt = await connection.begin_nested()
    try:
        await connection.execute(sa.update(table).where(table.c.id == key).values(**values))
    except IntegrityError as error:
        if "illegal move" not in str(error.orig):
            raise
        return True
    finally:
        await attempt.rollback()
    return False


def is_legal(moves: Mapping[Any, Set[Any]], before: Any, after: Any) -> bool:
    return before == after or after in moves[before]


async def test_a_run_makes_the_moves_that_the_domain_allows_and_no_other(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for before, after in itertools.product(RunStatus, RunStatus):
            run_id = await a_run(connection, before)
            refused = await is_refused(connection, pipeline_runs, run_id, run_state(after))
            assert refused is not is_legal(LEGAL_RUN_MOVES, before, after), (before, after)


async def test_a_stage_run_makes_the_moves_that_the_domain_allows_and_no_other(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for before, after in itertools.product(STATES, STATES):
            stage_run_id = await a_stage_run(connection, *before)
            values = dict(zip(("phase", "status"), after, strict=True))
            refused = await is_refused(connection, stage_runs, stage_run_id, values)
            keeps_its_end = before[0] is not Phase.FINAL or before == after
            legal = is_legal(LEGAL_STAGE_MOVES, before[0], after[0]) and keeps_its_end
            assert refused is not legal, (before, after)


async def test_the_refusal_names_the_row_and_the_move(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        stage_run_id = await a_stage_run(connection, Phase.FINAL, StageStatus.FAILED)
    resurrection = sa.update(stage_runs).values(phase=Phase.READY, status=StageStatus.PENDING)
    with pytest.raises(IntegrityError, match=f"{stage_run_id}: final FAILED -> ready PENDING"):
        async with engine.begin() as connection:
            await connection.execute(resurrection.where(stage_runs.c.id == stage_run_id))
