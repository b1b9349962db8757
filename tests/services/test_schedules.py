"""Schedules: what may be written, which moments get a run, and that each gets exactly one."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.tables import pipeline_runs, schedules
from app.domain.cron import Cron
from app.domain.events import EventKind
from app.domain.vocabulary import MissedPolicy, RunStatus, TriggerType
from app.errors import Conflict, InvalidInput, NotFound
from app.services import firing
from app.services.pipelines import delete_pipeline, update_pipeline
from app.services.run_records import delete_run
from app.services.schedules import create_schedule, delete_schedule, update_schedule
from app.services.state.run_transaction import run_transaction
from tests.moved_runs import ByHand, stage, waiters

MINUTE = dt.timedelta(minutes=1)
NIGHTLY = {"name": "nightly", "cron": "30 2 * * *", "timeZone": "Europe/Berlin"}
EVERY_MINUTE = {"name": "often", "cron": "* * * * *"}
YEARLY = {"name": "seldom", "cron": "0 0 1 1 *"}
"""It comes due only when a test says so."""


async def schedule(by_hand: ByHand, draft: dict[str, Any], **more: Any) -> uuid.UUID:
    """A schedule of a new pipeline."""
    pipeline_id = await by_hand.pipeline(stage("only"))
    return await create_schedule(by_hand.engine, by_hand.notifier, pipeline_id, {**draft, **more})


async def row_of(by_hand: ByHand, schedule_id: uuid.UUID) -> sa.Row[Any]:
    (row,) = await by_hand.rows(sa.select(schedules).where(schedules.c.id == schedule_id))
    return row


async def overdue(by_hand: ByHand, schedule_id: uuid.UUID, minutes: int) -> dt.datetime:
    """No server has looked for so many minutes; the first moment that was missed."""
    first = (await clock(by_hand)).replace(second=0, microsecond=0) - minutes * MINUTE
    await by_hand.execute(sa.update(schedules).where(schedules.c.id == schedule_id).values(next_run_at=first))
    return first


async def clock(by_hand: ByHand) -> dt.datetime:
    (row,) = await by_hand.rows(sa.select(sa.func.clock_timestamp()))
    return row[0]


async def fire_all(by_hand: ByHand) -> list[uuid.UUID]:
    """What one scheduler does when it wakes up."""
    fired = []
    for due in await firing.due_schedules(by_hand.engine):
        fired += await firing.fire(by_hand.engine, by_hand.notifier, due, "production")
    return fired


async def runs(by_hand: ByHand) -> list[sa.Row[Any]]:
    return list(await by_hand.rows(sa.select(pipeline_runs).order_by(pipeline_runs.c.id)))


async def test_a_new_schedule_is_due_at_the_first_moment_from_now_on(by_hand: ByHand) -> None:
    row = await row_of(by_hand, await schedule(by_hand, NIGHTLY))
    now = await clock(by_hand)
    assert now < row.next_run_at <= now + dt.timedelta(days=1, hours=1)
    assert (row.enabled, row.missed_policy, row.last_run_id) == (True, MissedPolicy.RUN_ONCE, None)
    assert await fire_all(by_hand) == []


async def test_everything_wrong_is_named_at_once(by_hand: ByHand) -> None:
    wrong = {
        "name": " ",
        "cron": "99 * * * *",
        "timeZone": "Europe/Berln",
        "runConfig": {"stages": {"onyl": {}}},
        "environment": "e" * 51,
        "tags": ["t" * 101],
    }
    with pytest.raises(InvalidInput) as caught:
        await schedule(by_hand, wrong)
    assert [problem.path for problem in caught.value.problems] == [
        ("name",),
        ("cron",),
        ("timeZone",),
        ("runConfig", "stages", "onyl"),
        ("environment",),
        ("tags", "0"),
    ]
    assert await by_hand.rows(sa.select(schedules)) == []


async def test_two_schedules_of_a_pipeline_have_different_names(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("only"))
    await create_schedule(by_hand.engine, by_hand.notifier, pipeline_id, NIGHTLY)
    other = await create_schedule(by_hand.engine, by_hand.notifier, pipeline_id, EVERY_MINUTE)
    with pytest.raises(Conflict) as caught:
        await create_schedule(by_hand.engine, by_hand.notifier, pipeline_id, NIGHTLY)
    assert caught.value.path == ("name",)
    with pytest.raises(Conflict):
        await update_schedule(by_hand.engine, by_hand.notifier, other, {"name": "nightly"})


async def test_what_does_not_exist_is_not_found(by_hand: ByHand) -> None:
    unknown = uuid.uuid4()
    with pytest.raises(NotFound):
        await create_schedule(by_hand.engine, by_hand.notifier, unknown, NIGHTLY)
    with pytest.raises(NotFound):
        await update_schedule(by_hand.engine, by_hand.notifier, unknown, {})
    with pytest.raises(NotFound):
        await delete_schedule(by_hand.engine, unknown)


async def test_a_due_moment_becomes_a_run_that_says_where_it_comes_from(by_hand: ByHand) -> None:
    more = {"runConfig": {"params": {"seed": 7}}, "tags": ["night"]}
    schedule_id = await schedule(by_hand, YEARLY, **more)
    moment = await overdue(by_hand, schedule_id, 0)
    (run_id,) = await fire_all(by_hand)
    run, row = await by_hand.run(run_id), await row_of(by_hand, schedule_id)
    assert (run.trigger_type, run.triggered_by) == (TriggerType.SCHEDULED, "schedule seldom")
    assert (run.run_config, run.tags, run.environment) == ({"params": {"seed": 7}}, ["night"], "production")
    assert run.idempotency_key == f"schedule {schedule_id} {moment.isoformat()}"
    assert (row.last_run_id, row.last_run_at, row.last_error) == (run_id, moment, None)
    assert row.next_run_at > moment
    assert await fire_all(by_hand) == []


@pytest.mark.parametrize(
    ("policy", "first_due", "expected"),
    [
        ("SKIP", "11:55", ["12:00"]),
        ("RUN_ONCE", "11:55", ["12:00"]),
        ("RUN_ALL", "11:58", ["11:58", "11:59", "12:00"]),
        ("RUN_ALL", "01:00", [f"11:{minute}" for minute in range(51, 60)] + ["12:00"]),
    ],
)
def test_missed_moments_are_made_up_for_as_the_policy_says(
    policy: str, first_due: str, expected: list[str]
) -> None:
    now = dt.datetime(2026, 11, 23, 12, 0, 30, tzinfo=dt.UTC)
    first = dt.datetime.combine(now.date(), dt.time.fromisoformat(first_due), dt.UTC)
    found = firing.moments_to_run(Cron("* * * * *", "UTC"), MissedPolicy(policy), first, now)
    assert [moment.strftime("%H:%M") for moment in found] == expected


async def test_all_runs_that_were_missed_are_queued_in_their_order(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, EVERY_MINUTE, missedPolicy="RUN_ALL")
    await overdue(by_hand, schedule_id, 500_000)
    assert len(await fire_all(by_hand)) == 10
    due = [dt.datetime.fromisoformat(run.notes.removeprefix("due at ")) for run in await runs(by_hand)]
    row = await row_of(by_hand, schedule_id)
    assert due == [row.next_run_at - n * MINUTE for n in range(10, 0, -1)]


async def test_skip_starts_nothing_that_is_late(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, YEARLY, missedPolicy="SKIP")
    await overdue(by_hand, schedule_id, 2)
    assert await fire_all(by_hand) == []
    assert (await row_of(by_hand, schedule_id)).next_run_at > await clock(by_hand)


async def test_many_schedulers_at_once_start_one_run_per_moment(by_hand: ByHand) -> None:
    ids = [await schedule(by_hand, YEARLY) for _ in range(5)]
    for schedule_id in ids:
        await overdue(by_hand, schedule_id, 0)
    due = await firing.due_schedules(by_hand.engine)
    assert len(due) == 5
    # Eight schedulers that have all seen the same rows.
    fired = await asyncio.gather(
        *(firing.fire(by_hand.engine, by_hand.notifier, one, None) for one in list(due) * 8)
    )
    assert sorted(map(len, fired)) == [0] * 35 + [1] * 5
    assert len(await runs(by_hand)) == 5


async def test_a_change_between_looking_and_starting_wins(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, YEARLY)
    await overdue(by_hand, schedule_id, 0)
    (due,) = await firing.due_schedules(by_hand.engine)
    await update_schedule(
        by_hand.engine, by_hand.notifier, schedule_id, {"runConfig": {"params": {"seed": 2}}}
    )
    assert await firing.fire(by_hand.engine, by_hand.notifier, due, None) == []
    (run_id,) = await fire_all(by_hand)
    assert (await by_hand.run(run_id)).run_config == {"params": {"seed": 2}}


async def test_a_moment_has_one_run_even_if_the_clock_of_the_database_was_set_back(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, YEARLY)
    moment = await overdue(by_hand, schedule_id, 0)
    assert len(await fire_all(by_hand)) == 1
    again = sa.update(schedules).where(schedules.c.id == schedule_id).values(next_run_at=moment)
    await by_hand.execute(again)
    assert await fire_all(by_hand) == []
    assert len(await runs(by_hand)) == 1
    assert (await row_of(by_hand, schedule_id)).next_run_at > moment


async def test_a_run_that_can_not_start_is_noted_and_does_not_stop_the_schedule(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, YEARLY, runConfig={"stages": {"only": {"params": {"a": 1}}}})
    pipeline_id = (await row_of(by_hand, schedule_id)).pipeline_id
    await update_pipeline(by_hand.engine, pipeline_id, {"stages": [stage("other")]})
    moment = await overdue(by_hand, schedule_id, 0)
    assert await fire_all(by_hand) == []
    row = await row_of(by_hand, schedule_id)
    assert "no stage of this name" in row.last_error
    assert row.next_run_at > moment
    await update_schedule(by_hand.engine, by_hand.notifier, schedule_id, {"runConfig": None})
    await overdue(by_hand, schedule_id, 0)
    assert len(await fire_all(by_hand)) == 1
    assert (await row_of(by_hand, schedule_id)).last_error is None


async def test_another_time_counts_from_now_on_and_other_changes_leave_it(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, EVERY_MINUTE)
    moment = await overdue(by_hand, schedule_id, 30)
    await update_schedule(by_hand.engine, by_hand.notifier, schedule_id, {"name": "new", "tags": ["a"]})
    row = await row_of(by_hand, schedule_id)
    assert (row.name, row.tags, row.next_run_at) == ("new", ["a"], moment)
    await update_schedule(by_hand.engine, by_hand.notifier, schedule_id, {"cron": "*/2 * * * *"})
    assert (await row_of(by_hand, schedule_id)).next_run_at > await clock(by_hand) - MINUTE
    await update_schedule(by_hand.engine, by_hand.notifier, schedule_id, {"enabled": False})
    assert (await row_of(by_hand, schedule_id)).next_run_at is None
    assert await firing.seconds_to_next(by_hand.engine) is None
    await update_schedule(by_hand.engine, by_hand.notifier, schedule_id, {"enabled": True})
    seconds = await firing.seconds_to_next(by_hand.engine)
    assert seconds is not None
    assert -1 < seconds <= 120


async def test_a_schedule_goes_with_its_pipeline_and_outlives_its_runs(by_hand: ByHand) -> None:
    schedule_id = await schedule(by_hand, YEARLY)
    await overdue(by_hand, schedule_id, 0)
    (run_id,) = await fire_all(by_hand)
    await by_hand.begin()
    await by_hand.complete_all()
    await delete_run(by_hand.engine, by_hand.notifier, run_id)
    row = await row_of(by_hand, schedule_id)
    assert row.last_run_id is None
    await delete_pipeline(by_hand.engine, by_hand.notifier, row.pipeline_id)
    assert await by_hand.rows(sa.select(schedules)) == []


async def test_deleting_pipelines_and_runs_while_schedules_fire_never_ends_in_a_deadlock(
    by_hand: ByHand,
) -> None:
    ids = [await schedule(by_hand, EVERY_MINUTE, missedPolicy="RUN_ALL") for _ in range(6)]
    for schedule_id in ids:
        await overdue(by_hand, schedule_id, 0)
    earlier = await fire_all(by_hand)
    while await by_hand.begin():
        pass
    await by_hand.complete_all()
    for schedule_id in ids:
        await overdue(by_hand, schedule_id, 5)
    due = await firing.due_schedules(by_hand.engine)
    outcomes = await asyncio.gather(
        *(firing.fire(by_hand.engine, by_hand.notifier, one, None) for one in due),
        *(delete_run(by_hand.engine, by_hand.notifier, run_id) for run_id in earlier),
        *(delete_schedule(by_hand.engine, one.id) for one in due[:2]),
    )
    assert len(outcomes) == 6 + 6 + 2


async def test_a_run_whose_place_a_schedule_takes_may_move_at_the_same_time(by_hand: ByHand) -> None:
    newest = {"key": "k", "policy": "CANCEL_IN_PROGRESS"}
    pipeline_id = await by_hand.pipeline(stage("only"), concurrency=newest)
    running = await by_hand.queue(pipeline_id)
    await by_hand.begin()
    schedule_id = await create_schedule(by_hand.engine, by_hand.notifier, pipeline_id, YEARLY)
    await overdue(by_hand, schedule_id, 0)
    async with (
        asyncio.TaskGroup() as tasks,
        run_transaction(by_hand.engine, by_hand.notifier, running) as transaction,
    ):
        firing_task = tasks.create_task(fire_all(by_hand))
        await waiters(by_hand, 1)
        # Its events and mirrors are written now: a transaction that waits for the run must not hold the pipeline.
        transaction.record(EventKind.RUN_STARTED, cause="under test")
        transaction.set_run(status=RunStatus.RUNNING)
    assert len(firing_task.result()) == 1
    assert (await by_hand.run(running)).cancel_requested_at is not None
