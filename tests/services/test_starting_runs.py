"""Starting and cancelling runs: what is written down, once, and what is refused."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from app.database.tables import pipeline_runs
from app.domain.vocabulary import Phase, RunStatus, StageStatus, TriggerType
from app.errors import DomainError, ErrorCode, InvalidInput, NotFound
from app.services.runs import cancel_run
from tests.moved_runs import ByHand, stage


async def test_a_run_is_written_down_with_all_that_was_asked_for(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a", params={"lr": 1}), stage("b", ["a"]), timeout=60)
    config = {"params": {"lr": 2}, "failFast": False}
    run_id = await by_hand.queue(
        pipeline_id,
        run_config=config,
        environment="staging",
        triggered_by="ada",
        tags=["x", "y"],
        notes="try",
        trigger_type=TriggerType.SCHEDULED,
    )
    run = await by_hand.run(run_id)
    assert (run.status, run.run_config, run.environment) == (RunStatus.PENDING, config, "staging")
    assert (run.triggered_by, run.tags, run.notes) == ("ada", ["x", "y"], "try")
    assert (run.trigger_type, run.fail_fast, run.timeout_seconds) == (TriggerType.SCHEDULED, False, 60)
    stages = await by_hand.stages(run_id)
    assert stages["a"].spec["params"] == {"lr": 2}
    assert [(row.phase, row.status) for row in stages.values()] == [
        (Phase.READY, StageStatus.PENDING),
        (Phase.BLOCKED, StageStatus.PENDING),
    ]
    assert stages["b"].depends_on == [stages["a"].id]
    await by_hand.check(run_id)


async def test_the_first_event_of_a_run_says_who_started_it(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")), triggered_by="ada")
    (event,) = await by_hand.events(run_id)
    assert (event.seq, event.kind, event.payload) == (
        1,
        "RUN_QUEUED",
        {"status": "PENDING", "actor": "ada", "cause": "trigger API"},
    )


async def test_a_new_run_wakes_supervisors_and_lists(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    with by_hand.notifier.listen("work") as work, by_hand.notifier.listen("runs") as lists:
        await by_hand.queue(pipeline_id)
        assert await work.wait(5)
        assert await lists.wait(5)


async def test_ten_starts_at_once_with_one_key_are_one_run(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    run_ids = await asyncio.gather(*[by_hand.queue(pipeline_id, idempotency_key="k") for _ in range(10)])
    assert len(set(run_ids)) == 1
    ((count,),) = await by_hand.rows(sa.select(sa.func.count()).select_from(pipeline_runs))
    assert count == 1


async def test_a_key_answers_the_same_run_even_when_it_has_ended(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    run_id = await by_hand.queue(pipeline_id, idempotency_key="k")
    await by_hand.cancel(run_id)
    assert await by_hand.queue(pipeline_id, idempotency_key="k") == run_id
    assert await by_hand.queue(pipeline_id, idempotency_key="K") != run_id


async def test_a_key_of_another_pipeline_is_a_conflict(by_hand: ByHand) -> None:
    await by_hand.queue(await by_hand.pipeline(stage("a")), idempotency_key="k")
    with pytest.raises(DomainError) as refusal:
        await by_hand.queue(await by_hand.pipeline(stage("a")), idempotency_key="k")
    assert refusal.value.code is ErrorCode.CONFLICT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environment", "x" * 51),
        ("environment", "a\0b"),
        ("triggered_by", "\ud800"),
        ("triggered_by", "x" * 256),
        ("notes", "a\0b"),
        ("notes", "x" * 100_001),
        ("idempotency_key", "\udc80"),
        ("idempotency_key", ""),
        ("tags", ["fine", "a\0b"]),
        ("tags", ["x" * 101]),
        ("tags", ["x"] * 51),
        ("tags", [""]),
        ("tags", ["twice", "twice"]),
        ("run_config", {"params": {"a\0": 1}}),
        ("run_config", {"params": {"a": float("nan")}}),
        ("run_config", {"params": {1: 2}}),
        ("run_config", {"stages": {"gone": {}}}),
        ("run_config", ["params"]),
    ],
)
async def test_a_request_that_cannot_be_stored_is_refused_and_leaves_nothing(
    by_hand: ByHand, field: str, value: Any
) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    with pytest.raises(DomainError) as refusal:
        await by_hand.queue(pipeline_id, **{field: value})
    assert refusal.value.path[0].lower() == field.replace("_", "")
    assert await by_hand.rows(sa.select(pipeline_runs)) == []


async def test_all_that_is_wrong_with_a_request_is_reported_at_once(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    with pytest.raises(InvalidInput) as refusal:
        await by_hand.queue(
            pipeline_id,
            environment="x" * 51,
            triggered_by="\ud800",
            idempotency_key="a\0b",
            notes="x" * 100_001,
            tags=["fine", "", "fine", "x" * 101],
            run_config={"timeout": -1, "stages": {"gone": {}}},
        )
    assert [".".join(problem.path) for problem in refusal.value.problems] == [
        "environment",
        "triggeredBy",
        "idempotencyKey",
        "notes",
        "tags.1",
        "tags.2",
        "tags.3",
        "runConfig.stages.gone",
        "runConfig.timeout",
    ]
    assert await by_hand.rows(sa.select(pipeline_runs)) == []


async def test_texts_of_any_script_and_length_up_to_the_limits_are_stored(by_hand: ByHand) -> None:
    given = {
        "environment": "ä" * 50,
        "triggered_by": "🐧" * 255,
        "notes": "\u2028\n" * 50_000,
        "tags": ["'; DROP TABLE pipelines; --", " ", "\t"],
        "idempotency_key": "%s {} \\",
    }
    run = await by_hand.run(await by_hand.queue(await by_hand.pipeline(stage("a")), **given))
    assert {name: getattr(run, name) for name in given} == given


async def test_a_pipeline_or_run_that_does_not_exist_is_not_found(by_hand: ByHand) -> None:
    with pytest.raises(NotFound):
        await by_hand.queue(uuid.uuid4())
    with pytest.raises(NotFound):
        await by_hand.cancel(uuid.uuid4())


@pytest.mark.parametrize("reason", ["a\0b", "\ud800", "x" * 10_001])
async def test_a_reason_that_cannot_be_stored_cancels_nothing(by_hand: ByHand, reason: str) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")))
    with pytest.raises(DomainError):
        await by_hand.cancel(run_id, reason)
    assert (await by_hand.run(run_id)).cancel_requested_at is None


async def test_the_events_say_who_cancelled_and_why(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")))
    await cancel_run(by_hand.engine, by_hand.notifier, run_id, "too slow", actor="ada")
    (event,) = [event for event in await by_hand.events(run_id) if event.kind == "RUN_CANCEL_REQUESTED"]
    assert (event.payload["actor"], event.payload["cause"]) == ("ada", "too slow")


async def test_a_stored_pipeline_that_is_no_longer_understood_is_refused_with_its_problems(
    by_hand: ByHand,
) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    await by_hand.execute(sa.text("UPDATE pipeline_stages SET config = '{}'"))
    with pytest.raises(InvalidInput, match="command") as refusal, anyio.fail_after(10):
        await by_hand.queue(pipeline_id)
    assert {problem.path for problem in refusal.value.problems} == {("pipelineId",)}
