"""How long a run waits, and which runs exclude each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from app.database.claims import take_claims_lock
from app.database.columns import new_id
from app.database.outages import is_outage
from app.database.tables import pipeline_runs, pipelines, workers
from app.domain.vocabulary import FinishReason, RunStatus
from app.errors import Conflict, InvalidInput
from app.services.state import stop_requests
from tests.moved_runs import ByHand, stage, waiters
from tests.registered_workers import register_worker


async def test_a_run_that_waits_longer_than_it_may_fails_and_says_so(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b", ["a"]))
    run_id = await by_hand.queue(pipeline_id, run_config={"queueTimeout": 30})
    assert await stop_requests.overdue_runs(by_hand.engine) == []
    earlier = timedelta(seconds=31)
    runs = pipeline_runs.c
    await by_hand.execute(
        sa.update(pipeline_runs).values(
            queue_deadline_at=runs.queue_deadline_at - earlier, created_at=runs.created_at - earlier
        )
    )
    assert await by_hand.begin() is None
    assert await stop_requests.overdue_runs(by_hand.engine) == [run_id]
    assert await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    run = await by_hand.run(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.TIMED_OUT)
    assert run.error_message == "the run waited in the queue longer than its queueTimeout of 30 s"
    assert set((await by_hand.statuses(run_id)).values()) == {"CANCELLED"}
    await by_hand.check(run_id)
    assert not await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)


async def test_a_run_that_began_in_time_has_no_queue_timeout_any_more(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")), run_config={"queueTimeout": 30})
    assert await by_hand.begin() == run_id
    past = sa.func.now() - timedelta(seconds=1)
    await by_hand.execute(sa.update(pipeline_runs).values(queue_deadline_at=past))
    assert await stop_requests.overdue_runs(by_hand.engine) == []


async def test_a_run_that_was_started_after_it_was_found_overdue_is_not_stopped(by_hand: ByHand) -> None:
    """Its worker began to wait for the claims lock in time, and got it late."""
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")), run_config={"queueTimeout": 30})
    assert await by_hand.begin() == run_id
    assert not await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    assert (await by_hand.run(run_id)).status is RunStatus.RUNNING


async def test_a_run_whose_queue_timeout_passes_while_its_worker_waits_is_not_started(
    by_hand: ByHand,
) -> None:
    await by_hand.queue(await by_hand.pipeline(stage("a")), run_config={"queueTimeout": 30})
    async with by_hand.engine.begin() as holder:
        await take_claims_lock(holder)
        beginning = asyncio.create_task(by_hand.begin())
        await waiters(by_hand, 1)
        soon = sa.func.clock_timestamp() + timedelta(milliseconds=1)
        await by_hand.execute(sa.update(pipeline_runs).values(queue_deadline_at=soon))
        await asyncio.sleep(0.01)
    assert await beginning is None


async def test_a_claim_gives_up_when_a_run_is_locked_for_long_and_lets_others_on(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a")))
    async with by_hand.engine.begin() as holder:
        await holder.execute(
            sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == run_id).with_for_update()
        )
        with pytest.raises(DBAPIError) as refusal:
            await by_hand.begin()
        assert is_outage(refusal.value)
        await register_worker(by_hand.engine, new_id(), slots=1)
    assert await by_hand.begin() == run_id


async def test_a_run_can_be_stopped_while_another_row_begins_to_refer_to_it(by_hand: ByHand) -> None:
    """As a retry does, which then waits for the key of a newer run that is about to cancel this one."""
    run_id = await by_hand.started(stage("a"))
    async with by_hand.engine.begin() as holder:
        reference = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == run_id)
        await holder.execute(reference.with_for_update(read=True, key_share=True))
        await asyncio.wait_for(by_hand.cancel(run_id), 5)
    assert (await by_hand.run(run_id)).status is RunStatus.CANCELLED


async def test_a_change_that_waited_for_long_is_dated_when_it_is_made(by_hand: ByHand) -> None:
    """Subscribers of changes look back for a few seconds only."""
    run_id = await by_hand.started(stage("a"))
    async with by_hand.engine.begin() as holder:
        await holder.execute(
            sa.select(pipeline_runs.c.id).where(pipeline_runs.c.id == run_id).with_for_update()
        )
        cancelling = asyncio.create_task(by_hand.cancel(run_id))
        await waiters(by_hand, 1)
        released_at = (await holder.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    await cancelling
    assert (await by_hand.run(run_id)).updated_at > released_at


async def test_runs_of_one_key_run_one_at_a_time_and_in_order_whatever_their_pipeline(
    by_hand: ByHand,
) -> None:
    one = await by_hand.pipeline(stage("a"), concurrency={"key": "deploy"})
    two = await by_hand.pipeline(stage("a"), concurrency={"key": "deploy", "policy": "QUEUE"})
    other = await by_hand.pipeline(stage("a"), concurrency={})
    first, second, beside = [await by_hand.queue(pipeline) for pipeline in (one, two, other)]
    assert [await by_hand.begin() for _ in range(3)] == [first, beside, None]
    await by_hand.complete_all()
    assert await by_hand.begin() == second


async def test_a_second_run_is_refused_while_the_first_is_active(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), concurrency={"policy": "REJECT"})
    first = await by_hand.queue(pipeline_id, idempotency_key="the first")
    with pytest.raises(Conflict, match=f"run {first} of the concurrency key .* is active"):
        await by_hand.queue(pipeline_id)
    assert await by_hand.queue(pipeline_id, idempotency_key="the first") == first
    await by_hand.cancel(first)
    await by_hand.queue(pipeline_id)


async def test_of_eight_runs_started_at_once_one_is_accepted(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), concurrency={"policy": "REJECT"})
    started = await asyncio.gather(*[by_hand.queue(pipeline_id) for _ in range(8)], return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in started) == 7


async def test_a_newer_run_takes_the_place_of_older_ones_when_they_have_ended(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), concurrency={"policy": "CANCEL_IN_PROGRESS"})
    running = await by_hand.queue(pipeline_id)
    await by_hand.begin()
    at_work = await by_hand.claimed("a")
    waiting = await by_hand.queue(pipeline_id)
    newest = await by_hand.queue(pipeline_id)
    assert (await by_hand.run(waiting)).status is RunStatus.CANCELLED
    assert (await by_hand.stages(running))["a"].stop_requested_at is not None
    assert await by_hand.begin() is None
    assert await stop_requests.request_cancel(
        by_hand.engine, by_hand.notifier, running, actor="ada", reason=None
    )
    await by_hand.complete(at_work)
    assert await by_hand.begin() == newest
    assert "took its place" in (await by_hand.run(running)).cancel_reason
    for run_id in (running, waiting, newest):
        await by_hand.check(run_id)


@pytest.mark.parametrize(
    ("concurrency", "problem"),
    [
        (
            {"policy": "WAIT"},
            "config.concurrency.policy: 'WAIT' is not one of QUEUE, REJECT, CANCEL_IN_PROGRESS",
        ),
        ({"key": " "}, "config.concurrency.key: must be a non-empty text"),
        ({"polcy": "QUEUE"}, "config.concurrency.polcy: unknown key; did you mean 'policy'?"),
        ("deploy", "config.concurrency: must be an object"),
    ],
)
async def test_a_wrong_concurrency_is_refused(by_hand: ByHand, concurrency: object, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await by_hand.pipeline(stage("a"), concurrency=concurrency)
    assert problem in str(caught.value)


async def test_fractions_of_a_cpu_that_sum_to_a_little_more_still_fit(by_hand: ByHand) -> None:
    await by_hand.execute(sa.update(workers).values(cpus=0.6))
    names = ["tenth", "two tenths", "three tenths"]
    fractions = zip(names, (0.1, 0.2, 0.3), strict=True)
    await by_hand.started(*[stage(name, resources={"cpus": cpus}) for name, cpus in fractions])
    for name in names:
        await by_hand.claimed(name)


@pytest.mark.parametrize("verb", ["start", "cancel"])
async def test_a_change_that_waited_long_for_a_lock_is_dated_after_the_wait(
    by_hand: ByHand, verb: str
) -> None:
    """Subscribers of changes read a few seconds back: a change dated before the wait would be missed."""
    pipeline_id = await by_hand.pipeline(stage("a"))
    run_id = await by_hand.queue(pipeline_id)
    locked = sa.select(pipelines.c.id).where(pipelines.c.id == pipeline_id).with_for_update(key_share=True)
    async with asyncio.TaskGroup() as tasks, by_hand.engine.begin() as blocker:
        await blocker.execute(locked)
        if verb == "start":
            started = tasks.create_task(by_hand.queue(pipeline_id))
        else:
            tasks.create_task(by_hand.cancel(run_id))
        await waiters(by_hand, 1)
        released_at = (await blocker.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    changed = await by_hand.run(started.result() if verb == "start" else run_id)
    assert changed.updated_at > released_at > changed.created_at
