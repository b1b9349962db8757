"""Registering, changing and deleting pipelines, while runs start and end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import (
    artifacts,
    blobs,
    datasets,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    run_events,
    stage_attempts,
    stage_runs,
)
from app.domain.artifacts import OUTPUTS_PATH, DatasetFacts, ModelFacts
from app.domain.vocabulary import RunStatus, StageStatus
from app.errors import DomainError, ErrorCode, InvalidInput, NotFound
from app.services.pipelines import create_pipeline, delete_pipeline, update_pipeline
from tests.moved_runs import ByHand, draft, output, stage, waiters


async def names(by_hand: ByHand, pipeline_id: uuid.UUID) -> list[str]:
    return list(await by_hand.stage_rows(pipeline_id))


async def count(by_hand: ByHand, table: sa.Table) -> int:
    ((number,),) = await by_hand.rows(sa.select(sa.func.count()).select_from(table))
    return int(number)


@asynccontextmanager
async def holding(by_hand: ByHand, pipeline_id: uuid.UUID) -> AsyncIterator[AsyncConnection]:
    """Until the block ends, no other transaction changes the pipeline or copies a run to it; runs may be inserted."""
    async with by_hand.engine.begin() as connection:
        statement = sa.select(pipelines.c.id).where(pipelines.c.id == pipeline_id)
        await connection.execute(statement.with_for_update(key_share=True))
        yield connection


async def test_a_refused_pipeline_leaves_no_row(by_hand: ByHand) -> None:
    with pytest.raises(InvalidInput):
        await create_pipeline(by_hand.engine, draft(stage("a"), stage("a")))
    assert await count(by_hand, pipelines) == 0


async def test_a_pipeline_is_stored_with_its_stages_in_order(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("b"), stage("a", ["b"]), failFast=False)
    rows = await by_hand.stage_rows(pipeline_id)
    assert [(row.name, row.order, row.dependencies) for row in rows.values()] == [
        ("b", 0, []),
        ("a", 1, ["b"]),
    ]
    row = await by_hand.pipeline_row(pipeline_id)
    assert (row.config, row.status) == ({"failFast": False}, RunStatus.PENDING)


async def test_only_the_keys_present_change(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), failFast=False)
    before = await by_hand.pipeline_row(pipeline_id)
    await update_pipeline(by_hand.engine, pipeline_id, {"description": "new"})
    after = await by_hand.pipeline_row(pipeline_id)
    assert (after.name, after.description, after.config) == (before.name, "new", before.config)
    assert after.updated_at > before.updated_at
    assert after.created_at == before.created_at
    assert await names(by_hand, pipeline_id) == ["a"]


async def test_a_refused_change_changes_nothing(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    before = await by_hand.pipeline_row(pipeline_id)
    for changes in ({"name": None}, {"name": "x", "stages": []}, {"stages": [stage("b", ["gone"])]}):
        with pytest.raises(InvalidInput):
            await update_pipeline(by_hand.engine, pipeline_id, changes)
    assert await by_hand.pipeline_row(pipeline_id) == before


async def test_stages_are_matched_by_name_and_may_swap_their_order(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"), stage("c"))
    before = await by_hand.stage_rows(pipeline_id)
    await update_pipeline(
        by_hand.engine, pipeline_id, {"stages": [stage("c"), stage("a", ["c"], timeout=5), stage("new")]}
    )
    after = await by_hand.stage_rows(pipeline_id)
    assert list(after) == ["c", "a", "new"]
    assert (after["a"].id, after["c"].id) == (before["a"].id, before["c"].id)
    assert after["a"].config["timeout"] == 5
    assert after["a"].dependencies == ["c"]


async def test_a_removed_stage_stays_for_its_runs_and_otherwise_goes(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"))
    run_id = await by_hand.queue(pipeline_id)
    await update_pipeline(by_hand.engine, pipeline_id, {"stages": [stage("a"), stage("unused")]})
    await update_pipeline(by_hand.engine, pipeline_id, {"stages": [stage("a")]})
    rows = await by_hand.rows(
        sa.select(pipeline_stages.c.name, pipeline_stages.c.is_active).order_by(pipeline_stages.c.name)
    )
    assert [tuple(row) for row in rows] == [("a", True), ("b", False)]
    assert set(await by_hand.stages(run_id)) == {"a", "b"}


async def test_a_stage_removed_and_added_again_is_a_new_stage(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"))
    await by_hand.queue(pipeline_id)
    for stages in ([stage("a")], [stage("a"), stage("b")], [stage("a")], [stage("b"), stage("a")]):
        await update_pipeline(by_hand.engine, pipeline_id, {"stages": stages})
    assert await names(by_hand, pipeline_id) == ["b", "a"]


async def test_a_run_keeps_the_definition_it_started_with(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a", command=["old"]))
    run_id = await by_hand.queue(pipeline_id)
    await update_pipeline(by_hand.engine, pipeline_id, draft(stage("z", command=["new"])))
    run = await by_hand.run(run_id)
    assert run.definition["stages"][0]["config"]["command"] == ["old"]
    assert (await by_hand.stages(run_id))["a"].spec["command"] == ["old"]


async def test_changes_and_starts_at_once_never_mix_two_definitions(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a1"), stage("b1"))
    versions = [draft(stage(f"a{n}"), stage(f"b{n}")) for n in range(1, 5)]
    work: list[Awaitable[object]] = []
    for version in versions:
        work += [
            update_pipeline(by_hand.engine, pipeline_id, version),
            by_hand.queue(pipeline_id),
            by_hand.queue(pipeline_id),
        ]
    await asyncio.gather(*work)
    for row in await by_hand.rows(sa.select(pipeline_runs)):
        stages = set(await by_hand.stages(row.id))
        assert stages == {item["name"] for item in row.definition["stages"]}
        assert len({name[1:] for name in stages}) == 1


async def test_a_pipeline_with_runs_is_deleted_only_if_asked_and_if_none_is_active(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    run_id = await by_hand.queue(pipeline_id)
    for delete_runs in (False, True):
        with pytest.raises(DomainError, match="active") as refusal:
            await delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=delete_runs)
        assert refusal.value.code is ErrorCode.PIPELINE_IN_USE
    await by_hand.cancel(run_id)
    with pytest.raises(DomainError, match="deleteRuns"):
        await delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id)
    await delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=True)
    with pytest.raises(NotFound):
        await delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id)
    with pytest.raises(NotFound):
        await update_pipeline(by_hand.engine, pipeline_id, {"name": "x"})


async def test_deleting_takes_everything_along_but_blobs_and_the_models_of_others(by_hand: ByHand) -> None:
    """Another pipeline's model was trained on a data set of the one that goes; both have a file in common."""
    data = output("datasets/d.csv", dataset=DatasetFacts(format="csv"))
    first = await by_hand.started(stage("a"))
    await by_hand.complete(await by_hand.claimed("a"), data)
    second = await by_hand.started(stage("b"))
    model = output("m.bin", model=ModelFacts(algorithm="tree"))
    await by_hand.complete(await by_hand.claimed("b"), model, output("datasets/d.csv"))
    linked = sa.select(datasets.c.id).scalar_subquery()
    await by_hand.execute(sa.update(models).values(training_dataset_id=linked))
    await delete_pipeline(
        by_hand.engine, by_hand.notifier, (await by_hand.run(first)).pipeline_id, delete_runs=True
    )
    ((kept,),) = await by_hand.rows(sa.select(models.c.training_dataset_id))
    assert kept is None
    counts = [await count(by_hand, table) for table in (pipelines, pipeline_runs, stage_runs, stage_attempts)]
    assert counts == [1, 1, 1, 1]
    assert await count(by_hand, datasets) == 0
    assert await count(by_hand, artifacts) == 2
    assert await count(by_hand, blobs) == 2
    assert {row.run_id for row in await by_hand.rows(sa.select(run_events.c.run_id))} == {second}


async def test_delete_and_start_at_once_leave_all_or_nothing(by_hand: ByHand) -> None:
    for _ in range(4):
        pipeline_id = await by_hand.pipeline(stage("a"))
        results = await asyncio.gather(
            by_hand.queue(pipeline_id),
            delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=True),
            return_exceptions=True,
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(errors) == 1
        assert isinstance(errors[0], DomainError), errors


async def test_a_pipeline_shows_its_latest_run_and_no_older_one(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"), failFast=False)
    older = await by_hand.queue(pipeline_id)
    await by_hand.begin()
    a = await by_hand.claimed("a")
    await by_hand.run_stage(a)
    assert (await by_hand.pipeline_row(pipeline_id)).status is RunStatus.RUNNING
    assert (await by_hand.stage_rows(pipeline_id))["a"].status is StageStatus.RUNNING
    newer = await by_hand.queue(pipeline_id)
    assert (await by_hand.pipeline_row(pipeline_id)).status is RunStatus.PENDING
    assert (await by_hand.stage_rows(pipeline_id))["a"].started_at is None
    await by_hand.complete(a, metrics={"loss": 1.0})
    await by_hand.complete(await by_hand.claimed("b"))
    assert (await by_hand.run(older)).status is RunStatus.COMPLETED
    assert (await by_hand.pipeline_row(pipeline_id)).status is RunStatus.PENDING
    assert (await by_hand.stage_rows(pipeline_id))["a"].status is StageStatus.PENDING
    await by_hand.begin()
    await by_hand.complete(await by_hand.claimed("a"), metrics={"loss": 2.0})
    await by_hand.fail(await by_hand.claimed("b"))
    run, row = await by_hand.run(newer), await by_hand.pipeline_row(pipeline_id)
    assert (row.status, row.completed_at, row.execution_time) == (
        RunStatus.FAILED,
        run.completed_at,
        run.execution_time,
    )
    shown, latest = await by_hand.stage_rows(pipeline_id), await by_hand.stages(newer)
    assert (shown["a"].metrics, shown["b"].status) == ({"loss": 2.0}, StageStatus.FAILED)
    assert (shown["a"].output_path, shown["b"].output_path) == (OUTPUTS_PATH % latest["a"].id, None)


async def test_the_end_of_a_run_that_waited_for_a_newer_one_is_not_shown(by_hand: ByHand) -> None:
    """Both want to show themselves; the older one, second in the queue, must see the newer one."""
    pipeline_id = await by_hand.pipeline(stage("a"))
    await by_hand.queue(pipeline_id)
    await by_hand.begin()
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    async with asyncio.TaskGroup() as tasks, holding(by_hand, pipeline_id):
        tasks.create_task(by_hand.queue(pipeline_id))
        await waiters(by_hand, 1)
        tasks.create_task(by_hand.complete(row))
        await waiters(by_hand, 2)
    newest_first = sa.select(pipeline_runs.c.status).order_by(pipeline_runs.c.id.desc())
    newest = (await by_hand.rows(newest_first))[0].status
    assert (await by_hand.pipeline_row(pipeline_id)).status is newest is RunStatus.PENDING
    assert (await by_hand.stage_rows(pipeline_id))["a"].status is StageStatus.PENDING


async def test_a_run_that_ends_locks_no_stage_before_its_pipeline(by_hand: ByHand) -> None:
    """The order of everybody else; the other way round two transactions could wait for each other for ever."""
    pipeline_id = await by_hand.pipeline(stage("a"))
    await by_hand.queue(pipeline_id)
    await by_hand.begin()
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    async with asyncio.TaskGroup() as tasks, holding(by_hand, pipeline_id) as connection:
        tasks.create_task(by_hand.complete(row))
        await waiters(by_hand, 1)
        stages = sa.select(pipeline_stages.c.id).where(pipeline_stages.c.pipeline_id == pipeline_id)
        await connection.execute(stages.with_for_update(nowait=True))
    assert (await by_hand.pipeline_row(pipeline_id)).status is RunStatus.COMPLETED


async def test_starts_changes_and_ends_at_once_do_not_deadlock(by_hand: ByHand) -> None:
    shape = [stage(f"s{n}") for n in range(10)]
    pipeline_id = await by_hand.pipeline(*shape)
    for _ in range(4):
        await by_hand.queue(pipeline_id)
        await by_hand.begin()
        row = await by_hand.claimed("s0")
        await asyncio.gather(
            by_hand.fail(row),
            by_hand.queue(pipeline_id),
            update_pipeline(by_hand.engine, pipeline_id, draft(*shape)),
            by_hand.queue(pipeline_id),
        )
        pending = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.status == RunStatus.PENDING)
        for waiting in await by_hand.rows(pending):
            await by_hand.cancel(waiting.id)


async def test_deleting_a_pipeline_with_its_runs_takes_locks_in_the_order_of_who_deletes_one(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(stage("only"))
    await by_hand.complete_all()
    pipeline_id = (await by_hand.run(run_id)).pipeline_id
    async with asyncio.TaskGroup() as tasks, by_hand.engine.begin() as connection:
        run = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == run_id)
        await connection.execute(run.with_for_update())
        tasks.create_task(delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=True))
        await waiters(by_hand, 1)
        this = sa.select(pipelines.c.id).where(pipelines.c.id == pipeline_id)
        await connection.execute(this.with_for_update(key_share=True, nowait=True))
    assert await count(by_hand, pipelines) == 0


async def test_5000_stages_are_replaced_within_the_time_of_a_statement(by_hand: ByHand) -> None:
    stages = [stage(f"s{n}") for n in range(5000)]
    pipeline_id = await by_hand.pipeline(*stages)
    await update_pipeline(by_hand.engine, pipeline_id, {"stages": stages[::-1]})
    assert next(iter(await by_hand.stage_rows(pipeline_id))) == "s4999"
