"""What is noted about a run, and what is left when one is deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.tables import artifacts, metadata, pipeline_runs, pipelines, run_events, stage_runs
from app.domain.vocabulary import RunStatus, StageStatus
from app.errors import DomainError, ErrorCode, NotFound
from app.services.retries import retry_run
from app.services.run_records import delete_run, update_run
from tests.moved_runs import ByHand, output, stage, waiters

OF_A_RUN = ("pipeline_runs", "stage_runs", "stage_attempts", "artifacts", "run_events")


def content(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "updated_at"}


async def test_a_deleted_run_leaves_no_row_behind(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.complete(await by_hand.claimed("a"), output("a.txt"))
    await delete_run(by_hand.engine, by_hand.notifier, run_id)
    for name in OF_A_RUN:
        assert await by_hand.rows(sa.select(metadata.tables[name])) == [], name


async def test_the_pipeline_shows_the_run_that_is_the_latest_after_a_deletion(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b", ["a"]))
    good = await by_hand.queue(pipeline_id)
    await by_hand.begin()
    await by_hand.complete_all()
    before = await by_hand.pipeline_row(pipeline_id), await by_hand.stage_rows(pipeline_id)
    bad = await by_hand.queue(pipeline_id)
    await by_hand.begin()
    await by_hand.complete_all(but="a")
    assert (await by_hand.pipeline_row(pipeline_id)).status is RunStatus.FAILED

    await delete_run(by_hand.engine, by_hand.notifier, bad)
    pipeline, stages = await by_hand.pipeline_row(pipeline_id), await by_hand.stage_rows(pipeline_id)
    assert content(pipeline) == content(before[0])
    assert {name: content(row) for name, row in stages.items()} == {
        name: content(row) for name, row in before[1].items()
    }

    await delete_run(by_hand.engine, by_hand.notifier, good)
    pipeline, stages = await by_hand.pipeline_row(pipeline_id), await by_hand.stage_rows(pipeline_id)
    assert (pipeline.status, pipeline.completed_at) == (RunStatus.PENDING, None)
    assert {row.status for row in stages.values()} == {StageStatus.PENDING}
    assert {row.logs for row in stages.values()} == {None}


async def test_a_retry_and_a_deletion_at_once_never_leave_a_retry_without_its_inputs(by_hand: ByHand) -> None:
    for _ in range(10):
        run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
        await by_hand.complete(await by_hand.claimed("a"), output("a.txt"))
        await by_hand.fail(await by_hand.claimed("b"))
        results = await asyncio.gather(
            retry_run(by_hand.engine, by_hand.notifier, run_id, from_failed=True),
            delete_run(by_hand.engine, by_hand.notifier, run_id),
            return_exceptions=True,
        )
        refusals = [result for result in results if isinstance(result, BaseException)]
        assert {getattr(refusal, "code", refusal) for refusal in refusals} <= {
            ErrorCode.NOT_FOUND,
            ErrorCode.NOT_DELETABLE,
        }
        reusing = await by_hand.rows(
            sa.select(stage_runs).where(stage_runs.c.status == StageStatus.COMPLETED)
        )
        for row in reusing:
            source = row.reused_from_id or row.id
            found = sa.select(artifacts.c.id).where(artifacts.c.stage_run_id == source)
            assert len(await by_hand.rows(found)) == 1
        await by_hand.execute(sa.delete(pipelines))


@pytest.mark.parametrize("doomed", ["run", "pipeline"])
@pytest.mark.parametrize("from_failed", [True, False])
async def test_a_retry_of_a_run_that_is_being_deleted_does_not_find_it(
    by_hand: ByHand, doomed: str, from_failed: bool
) -> None:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    await by_hand.complete_all(but="b")
    table = pipelines if doomed == "pipeline" else pipeline_runs
    async with by_hand.engine.begin() as connection:
        await connection.execute(sa.delete(table))
        retry = asyncio.create_task(retry_run(by_hand.engine, by_hand.notifier, run_id, from_failed))
        await waiters(by_hand, 1)
    with pytest.raises(NotFound) as refusal:
        await retry
    assert refusal.value.path == ("runId",)


async def test_notes_are_changed_at_any_time_without_an_event(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await update_run(by_hand.engine, by_hand.notifier, run_id, {"notes": "look at the loss"})
    await by_hand.complete_all()
    await update_run(by_hand.engine, by_hand.notifier, run_id, {"tags": ["good"]})
    run = await by_hand.run(run_id)
    assert (run.notes, run.tags, run.status) == ("look at the loss", ["good"], RunStatus.COMPLETED)
    assert len(await by_hand.rows(sa.select(run_events))) == run.last_event_seq
    with pytest.raises(DomainError) as refused:
        await update_run(by_hand.engine, by_hand.notifier, run_id, {"notes": "x" * 100_001})
    assert refused.value.code is ErrorCode.BAD_INPUT
