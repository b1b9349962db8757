"""Every move records who made it and why: the events of runs with every ending are walked."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from app.database.tables import pipeline_runs
from app.domain.events import EventKind
from app.domain.outcomes import AttemptOutcome
from app.domain.retry import LOST_LIMIT
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.services.runs import cancel_run
from app.services.state import stop_requests
from tests.moved_runs import EXIT_3, LOST, STOPPED, ByHand, output, stage

EVIDENCE = {"peakProcessCount": 2}


def proven(outcome: AttemptOutcome) -> AttemptOutcome:
    return dataclasses.replace(outcome, evidence=EVIDENCE)


async def completed(by_hand: ByHand) -> uuid.UUID:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    first = await by_hand.claimed("a")
    await by_hand.run_stage(first)
    await by_hand.complete(first, output("a.txt"))
    await by_hand.complete(await by_hand.claimed("b"))
    return run_id


async def failed(by_hand: ByHand) -> uuid.UUID:
    """After a retry; with it end a stage below, one that waits beside it and an active one."""
    once_more = {"limit": 1, "delay": 0}
    run_id = await by_hand.started(
        stage("bad", retries=once_more), stage("side"), stage("late", ["side"]), stage("below", ["bad"])
    )
    first, side = await by_hand.claimed("bad"), await by_hand.claimed("side")
    await by_hand.fail(first, proven(EXIT_3))
    await by_hand.make_due(run_id)
    await by_hand.fail(await by_hand.claimed("bad"), proven(EXIT_3))
    await by_hand.fail(side, proven(STOPPED))
    return run_id


async def cancelled(by_hand: ByHand) -> uuid.UUID:
    run_id = await by_hand.started(stage("active"), stage("waits", ["active"]))
    row = await by_hand.claimed("active")
    await by_hand.cancel(run_id)
    await by_hand.fail(row, proven(STOPPED))
    return run_id


async def cancelled_too_late(by_hand: ByHand) -> uuid.UUID:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    await by_hand.cancel(run_id)
    await by_hand.complete(row)
    return run_id


async def timed_out(by_hand: ByHand) -> uuid.UUID:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.expire(run_id)
    await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    await by_hand.fail(row, proven(STOPPED))
    return run_id


async def waited_too_long(by_hand: ByHand) -> uuid.UUID:
    pipeline_id = await by_hand.pipeline(stage("a"))
    run_id = await by_hand.queue(pipeline_id, run_config={"queueTimeout": 60})
    past = sa.update(pipeline_runs).values(queue_deadline_at=sa.func.now())
    await by_hand.execute(past.where(pipeline_runs.c.id == run_id))
    await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    return run_id


async def lost(by_hand: ByHand) -> uuid.UUID:
    run_id = await by_hand.started(stage("a"))
    for _ in range(LOST_LIMIT + 1):
        await by_hand.fail(await by_hand.claimed("a"), proven(LOST))
    return run_id


ENDINGS: dict[Callable[[ByHand], Awaitable[uuid.UUID]], RunStatus] = {
    completed: RunStatus.COMPLETED,
    failed: RunStatus.FAILED,
    cancelled: RunStatus.CANCELLED,
    cancelled_too_late: RunStatus.COMPLETED,
    timed_out: RunStatus.FAILED,
    waited_too_long: RunStatus.FAILED,
    lost: RunStatus.FAILED,
}


async def test_every_event_of_every_ending_names_its_actor_and_its_cause(by_hand: ByHand) -> None:
    seen: set[EventKind] = set()
    ends: set[StageStatus] = set()
    for reach, status in ENDINGS.items():
        run_id = await reach(by_hand)
        assert (await by_hand.run(run_id)).status is status, reach.__name__
        for event in await by_hand.events(run_id):
            payload = event.payload
            assert payload["actor"], (reach.__name__, event)
            assert payload["cause"], (reach.__name__, event)
            moves = event.kind is not EventKind.ARTIFACT_STORED
            begins = event.kind in (EventKind.RUN_QUEUED, EventKind.RUN_CANCEL_REQUESTED)
            assert ("previousStatus" in payload) is (moves and not begins), (reach.__name__, event)
            seen.add(event.kind)
        ends |= {row.status for row in (await by_hand.stages(run_id)).values()}
    assert seen == set(EventKind)
    assert ends == {StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED}


@pytest.mark.parametrize("reach", [failed, cancelled, timed_out, lost])
async def test_an_attempt_that_ended_badly_leaves_its_evidence_in_the_history(
    by_hand: ByHand, reach: Callable[[ByHand], Awaitable[uuid.UUID]]
) -> None:
    run_id = await reach(by_hand)
    ends = {EventKind.STAGE_FINISHED, EventKind.STAGE_RETRY_SCHEDULED}
    payloads = [event.payload for event in await by_hand.events(run_id) if event.kind in ends]
    of_attempts = [payload for payload in payloads if payload["actor"].startswith("worker")]
    assert of_attempts
    assert all(payload["evidence"] == EVIDENCE for payload in of_attempts)


async def test_a_stage_says_who_stopped_it_and_why_whether_it_ran_or_waited(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("active"), stage("waits", ["active"]))
    row = await by_hand.claimed("active")
    await cancel_run(by_hand.engine, by_hand.notifier, run_id, "too slow", actor="ada")
    await by_hand.fail(row, STOPPED)
    assert (await by_hand.run(run_id)).cancel_actor == "ada"
    for stopped in (await by_hand.stages(run_id)).values():
        cause = "the run was cancelled by ada: too slow"
        assert (stopped.stop_actor, stopped.stop_cause, stopped.error_message) == ("ada", cause, cause)
        assert stopped.stop_reason is FinishReason.CANCELLED
        assert stopped.stop_requested_at is not None


async def test_a_stage_stopped_because_another_failed_names_that_one(by_hand: ByHand) -> None:
    run_id = await failed(by_hand)
    rows = await by_hand.stages(run_id)
    cause = "stage 'bad' failed and the run is fail-fast"
    assert {name: row.stop_cause for name, row in rows.items() if row.stop_cause} == {
        "side": cause,
        "late": cause,
    }
    assert rows["side"].error_message == cause


async def test_a_cancel_that_came_too_late_is_recorded_by_the_run_and_by_its_stage(by_hand: ByHand) -> None:
    run_id = await cancelled_too_late(by_hand)
    causes = {event.kind: event.payload["cause"] for event in await by_hand.events(run_id)}
    assert causes[EventKind.RUN_FINISHED].endswith("the cancel came too late to stop any of them")
    assert causes[EventKind.STAGE_FINISHED].endswith("the request to stop it came too late")


async def test_what_ended_before_the_cancel_is_not_called_late(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("early"), stage("late", ["early"]))
    await by_hand.complete(await by_hand.claimed("early"))
    row = await by_hand.claimed("late")
    await by_hand.cancel(run_id)
    await by_hand.fail(row, STOPPED)
    events = await by_hand.events(run_id)
    ends = [event.payload for event in events if event.kind is EventKind.STAGE_FINISHED]
    assert [payload["cause"] for payload in ends] == [
        "the command exited with code 0",
        "the run was cancelled by API: enough",
    ]


async def test_a_runner_stopped_from_outside_says_that_its_attempt_was_lost(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.fail(await by_hand.claimed("a"), STOPPED)
    (retry,) = [event for event in await by_hand.events(run_id) if event.kind == "STAGE_RETRY_SCHEDULED"]
    assert retry.payload["finishReason"] == "LOST"
    assert (
        retry.payload["cause"]
        == "the attempt was lost: its runner received a signal that the server did not send"
    )
