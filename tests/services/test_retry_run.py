"""Running an ended run once more: all of it, or what did not complete with the outputs of what did."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import sqlalchemy as sa

from app.database.reads.attempts import inputs_of
from app.database.tables import datasets, models, pipeline_runs
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.vocabulary import FinishReason, Phase, RunStatus
from app.errors import Conflict, DomainError, ErrorCode, InvalidInput, NotFound
from app.services.pipelines import delete_pipeline, update_pipeline
from app.services.retries import retry_run
from tests.moved_runs import EXIT_3, ByHand, draft, output, stage

LINE = (stage("load"), stage("train", ["load"]), stage("report", ["train", "load"]))


async def retried(
    by_hand: ByHand, run_id: uuid.UUID, *, from_failed: bool = True, key: str | None = None
) -> uuid.UUID:
    return await retry_run(by_hand.engine, by_hand.notifier, run_id, from_failed, key)


async def refused(by_hand: ByHand, run_id: uuid.UUID, *, from_failed: bool = True) -> str:
    with pytest.raises(DomainError) as refusal:
        await retried(by_hand, run_id, from_failed=from_failed)
    assert refusal.value.code is ErrorCode.NOT_RETRYABLE
    return refusal.value.message


async def inputs(by_hand: ByHand, run_id: uuid.UUID, name: str) -> set[str]:
    """What the stage finds under its inputs, as ``dependency/path``."""
    row = (await by_hand.stages(run_id))[name]
    async with by_hand.engine.connect() as connection:
        files = await inputs_of(connection, row.depends_on)
    return {f"{file.dependency}/{file.relative_path}" for file in files}


async def failed_line(by_hand: ByHand) -> uuid.UUID:
    """``load`` completed in its second attempt and left a data set, ``train`` failed."""
    run_id = await by_hand.started(
        stage("load", retries={"limit": 1, "delay": 0}), *LINE[1:], params={"lr": 1}
    )
    await by_hand.fail(await by_hand.claimed("load"), EXIT_3, output("output.log", is_captured_log=True))
    await by_hand.make_due(run_id)
    data = output("datasets/d.csv", dataset=DatasetFacts(format="csv"))
    log = output("output.log", is_captured_log=True)
    await by_hand.complete(await by_hand.claimed("load"), data, log, metrics={"rows": 3.0})
    await by_hand.fail(await by_hand.claimed("train"))
    assert (await by_hand.run(run_id)).status is RunStatus.FAILED
    return run_id


async def test_a_whole_retry_runs_every_stage_again(by_hand: ByHand) -> None:
    old = await failed_line(by_hand)
    new = await retried(by_hand, old, from_failed=False)
    assert (await by_hand.run(new)).retry_of_id == old
    assert (await by_hand.events(new))[0].payload["cause"] == f"it does run {old} again"
    assert set((await by_hand.statuses(new)).values()) == {"PENDING"}
    await by_hand.begin()
    await by_hand.complete_all()
    assert (await by_hand.run(new)).status is RunStatus.COMPLETED
    await by_hand.check(new)


async def test_from_failed_executes_only_what_did_not_complete(by_hand: ByHand) -> None:
    new = await retried(by_hand, await failed_line(by_hand))
    run, load = await by_hand.run(new), (await by_hand.stages(new))["load"]
    assert (run.status, run.open_stage_count, run.success_count) == (RunStatus.PENDING, 2, 1)
    assert (load.phase, load.metrics, load.finish_reason) == (
        Phase.FINAL,
        {"rows": 3.0},
        FinishReason.EXITED,
    )
    await by_hand.begin()
    await by_hand.complete(await by_hand.claimed("train"))
    await by_hand.complete(await by_hand.claimed("report"))
    run = await by_hand.run(new)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 3)
    await by_hand.check(new)


async def test_outputs_of_a_reused_stage_are_inputs_of_its_dependents(by_hand: ByHand) -> None:
    new = await retried(by_hand, await failed_line(by_hand))
    assert await inputs(by_hand, new, "train") == {"load/datasets/d.csv"}


async def test_a_retry_of_a_retry_still_reaches_the_first_outputs(by_hand: ByHand) -> None:
    run_id = await failed_line(by_hand)
    source = (await by_hand.stages(run_id))["load"].id
    for _ in range(3):
        run_id = await retried(by_hand, run_id)
        await by_hand.begin()
        await by_hand.fail(await by_hand.claimed("train"))
    last = await retried(by_hand, run_id)
    assert (await by_hand.stages(last))["load"].reused_from_id == source
    await by_hand.begin()
    await by_hand.complete(await by_hand.claimed("train"), output("m.bin"))
    assert await inputs(by_hand, last, "report") == {"load/datasets/d.csv", "train/m.bin"}


async def test_a_model_of_a_retry_knows_the_data_set_of_the_reused_stage(by_hand: ByHand) -> None:
    await retried(by_hand, await failed_line(by_hand))
    await by_hand.begin()
    model = output("m.bin", model=ModelFacts(training_dataset="load/datasets/d.csv"))
    await by_hand.complete(await by_hand.claimed("train"), model)
    (row,) = await by_hand.rows(models.select())
    (dataset,) = await by_hand.rows(datasets.select())
    assert row.training_dataset_id == dataset.id


async def test_a_completed_stage_is_executed_again_if_something_before_it_is(by_hand: ByHand) -> None:
    """It worked on what was left of a failure that was allowed; now it gets better inputs."""
    run_id = await by_hand.started(
        stage("try", allowFailure=True), stage("use", ["try"]), stage("bad"), failFast=False
    )
    await by_hand.fail(await by_hand.claimed("try"))
    await by_hand.complete(await by_hand.claimed("use"))
    await by_hand.fail(await by_hand.claimed("bad"))
    new = await retried(by_hand, run_id)
    assert set((await by_hand.statuses(new)).values()) == {"PENDING"}
    await by_hand.begin()
    await by_hand.complete_all()
    await by_hand.check(new)


async def test_a_cancelled_retry_ends_and_keeps_what_it_reused(by_hand: ByHand) -> None:
    new = await retried(by_hand, await failed_line(by_hand))
    await by_hand.cancel(new)
    assert (await by_hand.run(new)).status is RunStatus.CANCELLED
    assert (await by_hand.statuses(new))["load"] == "COMPLETED"
    await by_hand.check(new)


async def test_a_retry_runs_the_definition_and_parameters_of_its_run(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a", command=["old"]))
    old = await by_hand.queue(
        pipeline_id, run_config={"params": {"lr": 9}}, tags=["t"], environment="e", idempotency_key="k"
    )
    await by_hand.cancel(old)
    await update_pipeline(by_hand.engine, pipeline_id, draft(stage("a", command=["new"]), stage("b")))
    new = await retried(by_hand, old)
    stages, run = await by_hand.stages(new), await by_hand.run(new)
    assert {name: row.spec["command"] for name, row in stages.items()} == {"a": ["old"]}
    assert stages["a"].spec["params"] == {"lr": 9}
    assert (run.tags, run.environment, run.idempotency_key) == (["t"], "e", None)


async def test_a_run_whose_stages_were_removed_is_not_retried(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"))
    old = await by_hand.queue(pipeline_id)
    await by_hand.cancel(old)
    await update_pipeline(by_hand.engine, pipeline_id, draft(stage("a")))
    assert "no longer has the stages b" in await refused(by_hand, old)


async def test_a_run_that_is_not_over_is_not_retried(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")))
    assert "still PENDING" in await refused(by_hand, run_id)
    await by_hand.begin()
    assert "still RUNNING" in await refused(by_hand, run_id, from_failed=False)


async def test_from_failed_has_nothing_to_do_after_a_run_that_completed(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.complete_all()
    assert "nothing to retry" in await refused(by_hand, run_id)
    await retried(by_hand, run_id, from_failed=False)


async def test_a_run_that_does_not_exist_is_not_found(by_hand: ByHand) -> None:
    with pytest.raises(NotFound):
        await retried(by_hand, uuid.uuid4())


async def test_retry_and_delete_at_once_leave_all_or_nothing(by_hand: ByHand) -> None:
    for _ in range(3):
        run_id = await failed_line(by_hand)
        pipeline_id = (await by_hand.run(run_id)).pipeline_id
        results = await asyncio.gather(
            retried(by_hand, run_id),
            delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=True),
            return_exceptions=True,
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(errors) == 1
        assert isinstance(errors[0], DomainError), errors
        if isinstance(results[0], uuid.UUID):
            await by_hand.cancel(results[0])


async def test_retries_at_once_are_runs_of_their_own(by_hand: ByHand) -> None:
    old = await failed_line(by_hand)
    new = await asyncio.gather(*[retried(by_hand, old) for _ in range(4)])
    assert len(set(new)) == 4
    while await by_hand.begin():
        pass
    await by_hand.complete_all()
    for run_id in new:
        assert (await by_hand.run(run_id)).status is RunStatus.COMPLETED
        await by_hand.check(run_id)


async def test_retries_at_once_with_one_key_are_one_run(by_hand: ByHand) -> None:
    old = await failed_line(by_hand)
    (new,) = set(await asyncio.gather(*[retried(by_hand, old, key="k") for _ in range(4)]))
    assert (await by_hand.run(new)).retry_of_id == old
    await by_hand.cancel(new)
    assert await retried(by_hand, old, key="k") == new
    assert await retried(by_hand, old, key="K") != new


async def test_retries_with_one_key_are_one_run_even_if_the_pipeline_allows_one_run_only(
    by_hand: ByHand,
) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), concurrency={"policy": "REJECT"})
    old = await by_hand.queue(pipeline_id)
    await by_hand.cancel(old)
    assert len(set(await asyncio.gather(*[retried(by_hand, old, key="k") for _ in range(4)]))) == 1
    with pytest.raises(Conflict, match="is active") as refusal:
        await retried(by_hand, old, key="K")
    assert refusal.value.path == ("runId",)


async def test_a_key_that_was_used_for_something_else_is_a_conflict(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    first, second = [await by_hand.queue(pipeline_id, idempotency_key=key) for key in "ab"]
    for run_id in (first, second):
        await by_hand.cancel(run_id)
    await retried(by_hand, first, key="c")
    for request in (
        retried(by_hand, first, key="a"),
        retried(by_hand, second, key="c"),
        by_hand.queue(pipeline_id, idempotency_key="c"),
    ):
        with pytest.raises(Conflict) as refusal:
            await request
        assert refusal.value.path == ("idempotencyKey",)


@pytest.mark.parametrize("key", ["", "k" * 256, "a\0b", "\ud800"])
async def test_a_key_that_cannot_be_stored_retries_nothing(by_hand: ByHand, key: str) -> None:
    with pytest.raises(DomainError) as refusal:
        await retried(by_hand, await failed_line(by_hand), key=key)
    assert refusal.value.path == ("idempotencyKey",)


async def test_problems_of_a_definition_that_is_no_longer_valid_are_those_of_the_run(by_hand: ByHand) -> None:
    old = await failed_line(by_hand)
    await by_hand.execute(sa.update(pipeline_runs).values(definition={}))
    with pytest.raises(InvalidInput) as refusal:
        await retried(by_hand, old)
    assert {problem.path for problem in refusal.value.problems} == {("runId",)}
