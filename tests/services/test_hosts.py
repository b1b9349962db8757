"""Several hosts on one database: a host that is silent for too long loses its attempts, and no other does."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from app.database.claims import pending_work, take_claims_lock
from app.database.columns import new_id
from app.database.engine import create_engine
from app.database.reads.attempts import lost_attempts, unschedulable_stages
from app.database.tables import stage_attempts, workers
from app.domain.attempts import AttemptKey
from app.domain.retry import LOST_LIMIT
from app.domain.stage_reports import MetricPoint
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.services.samples import Offsets, Report, store_reports
from app.services.state import claims, losses, unschedulable
from tests.moved_runs import ByHand, key_of, output, stage
from tests.registered_workers import register_worker

LOST_AFTER_SECONDS = 600.0
LEASE_SECONDS = 30.0


async def silence(by_hand: ByHand, host_id: uuid.UUID, seconds: float) -> None:
    """The leases of the host ran out this long ago, and its attempts are older than that."""
    past = sa.func.now() - timedelta(seconds=seconds)
    await by_hand.execute(sa.update(workers).where(workers.c.host_id == host_id).values(lease_until=past))
    await by_hand.execute(
        sa.update(stage_attempts)
        .where(stage_attempts.c.host_id == host_id)
        .values(claimed_at=past - timedelta(seconds=60))
    )


async def other_worker(by_hand: ByHand, host_id: uuid.UUID | None = None, **resources: float) -> uuid.UUID:
    """A worker that has been there for a while; on a host of its own unless ``host_id`` names one."""
    worker_id = await register_worker(by_hand.engine, host_id or new_id(), slots=4, **resources)  # type: ignore[arg-type]
    hour_ago = sa.func.now() - timedelta(hours=1)
    await by_hand.execute(sa.update(workers).where(workers.c.id == worker_id).values(created_at=hour_ago))
    return worker_id


async def declare_all_lost(by_hand: ByHand, judge: uuid.UUID) -> list[bool]:
    async with by_hand.engine.connect() as connection:
        found = await lost_attempts(connection, LOST_AFTER_SECONDS)
    return [
        await losses.declare_lost(
            by_hand.engine,
            by_hand.notifier,
            judge,
            key,
            lost_after_seconds=LOST_AFTER_SECONDS,
            lease_seconds=LEASE_SECONDS,
        )
        for key in found
    ]


async def test_an_attempt_of_a_host_silent_for_too_long_is_lost_and_tried_elsewhere(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.run_stage(row)
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, LOST_AFTER_SECONDS + 1)
    assert await declare_all_lost(by_hand, judge) == [True]
    again = (await by_hand.stages(run_id))["a"]
    assert (again.phase, again.lost_count, again.worker_id) == (Phase.READY, 1, None)
    event = (await by_hand.events(run_id))[-1]
    assert event.kind == "STAGE_RETRY_SCHEDULED"
    assert event.payload["actor"] == f"worker {judge}"
    assert event.payload["evidence"]["workerId"] == str(by_hand.worker_id)
    assert event.payload["evidence"]["silentSeconds"] > LOST_AFTER_SECONDS
    assert "has sent no heartbeat for more than 600 s" in event.payload["cause"]
    again = AttemptKey(run_id, row.id, 2)
    assert await claims.claim_next_stage(by_hand.engine, by_hand.notifier, judge, new_id()) == again
    await by_hand.check(run_id)


async def test_nothing_is_lost_a_moment_too_early(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.claimed("a")
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, LOST_AFTER_SECONDS - 30)
    assert await declare_all_lost(by_hand, judge) == []
    where = AttemptKey(run_id, (await by_hand.stages(run_id))["a"].id, 1)
    limits = {"lost_after_seconds": LOST_AFTER_SECONDS, "lease_seconds": LEASE_SECONDS}
    assert not await losses.declare_lost(by_hand.engine, by_hand.notifier, judge, where, **limits)


async def test_a_recent_attempt_is_not_lost_when_the_rows_of_old_workers_are_gone(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    judge = await other_worker(by_hand)
    await by_hand.execute(sa.delete(workers).where(workers.c.host_id == by_hand.host_id))
    assert await declare_all_lost(by_hand, judge) == []
    past = sa.func.now() - timedelta(seconds=LOST_AFTER_SECONDS + 1)
    this = stage_attempts.c.stage_run_id == row.id
    await by_hand.execute(sa.update(stage_attempts).where(this).values(claimed_at=past))
    assert await declare_all_lost(by_hand, judge) == [True]
    await by_hand.check(run_id)


async def test_an_attempt_lives_while_any_worker_of_its_host_does(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"))
    await by_hand.claimed("a")
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, 10 * LOST_AFTER_SECONDS)
    await register_worker(by_hand.engine, by_hand.host_id, slots=1)
    assert await declare_all_lost(by_hand, judge) == []


@pytest.mark.parametrize("reason", ["its own lease ran out", "it came back only now"])
async def test_a_worker_that_was_away_itself_judges_no_other(by_hand: ByHand, reason: str) -> None:
    """After an outage of the database every lease has run out: no attempt is lost before its host could come back."""
    await by_hand.started(stage("a"))
    await by_hand.claimed("a")
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, 10 * LOST_AFTER_SECONDS)
    change = {"lease_until": sa.func.now()} if "lease" in reason else {"created_at": sa.func.now()}
    await by_hand.execute(sa.update(workers).where(workers.c.id == judge).values(change))
    assert await declare_all_lost(by_hand, judge) == [False]


async def test_eight_judges_declare_an_attempt_lost_once(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    judges = [await other_worker(by_hand) for _ in range(8)]
    await silence(by_hand, by_hand.host_id, LOST_AFTER_SECONDS + 1)
    found = await asyncio.gather(*[declare_all_lost(by_hand, judge) for judge in judges])
    assert sum(map(sum, found)) == 1
    assert (await by_hand.stages(run_id))["a"].lost_count == 1
    assert row.attempt_number == 1


async def test_whatever_a_lost_attempt_reports_later_changes_nothing(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    late = await by_hand.claimed("a")
    await by_hand.run_stage(late)
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, LOST_AFTER_SECONDS + 1)
    await declare_all_lost(by_hand, judge)
    before = await by_hand.events(run_id)
    points = [MetricPoint("loss", 1, 0.5, datetime.now(UTC))]
    report = Report(key_of(late), Offsets(0, 0), Offsets(10, 10), points=points)
    assert not await by_hand.run_stage(late)
    assert not await by_hand.complete(late, output("models/late.bin"))
    assert not await by_hand.fail(late)
    assert not await store_reports(by_hand.engine, by_hand.notifier, [report])
    assert await by_hand.events(run_id) == before


async def test_a_stage_whose_hosts_keep_falling_silent_fails_as_lost(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    judge = await other_worker(by_hand)
    for _ in range(LOST_LIMIT + 1):
        host_id = new_id()
        unlucky = await other_worker(by_hand, host_id)
        assert await claims.claim_next_stage(by_hand.engine, by_hand.notifier, unlucky, host_id)
        await silence(by_hand, host_id, LOST_AFTER_SECONDS + 1)
        assert await declare_all_lost(by_hand, judge) == [True]
        await by_hand.make_due(run_id)
    lost, run = (await by_hand.stages(run_id))["a"], await by_hand.run(run_id)
    assert (lost.status, lost.finish_reason) == (StageStatus.FAILED, FinishReason.LOST)
    assert run.status is RunStatus.FAILED


async def test_a_stage_on_a_silent_host_is_not_called_cancelled_because_its_end_is_unknown(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.claimed("a")
    await by_hand.cancel(run_id)
    judge = await other_worker(by_hand)
    await silence(by_hand, by_hand.host_id, LOST_AFTER_SECONDS + 1)
    assert await declare_all_lost(by_hand, judge) == [True]
    row, run = (await by_hand.stages(run_id))["a"], await by_hand.run(run_id)
    assert (row.status, row.finish_reason) == (StageStatus.FAILED, FinishReason.LOST)
    assert "no heartbeat" in row.error_message
    assert row.error_message.endswith("a stop was requested, but its processes may still be running")
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.LOST)
    await by_hand.check(run_id)


async def test_pending_work_names_the_attempts_of_the_host_itself(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    async with by_hand.engine.connect() as connection:
        mine = await pending_work(connection, by_hand.host_id, LOST_AFTER_SECONDS)
        others = await pending_work(connection, new_id(), LOST_AFTER_SECONDS)
    assert (mine.active_attempts, others.active_attempts) == ({f"{row.id}.1"}, set())


async def test_stages_claim_cpus_and_memory_of_their_worker(by_hand: ByHand) -> None:
    resources = {"cpus": 1.5, "memoryMb": 600}
    await by_hand.started(*[stage(f"s{n}", resources=resources) for n in range(5)])
    host_id = new_id()
    by_cpus = await other_worker(by_hand, host_id, cpus=3.2, memory_mb=5000)
    by_memory = await other_worker(by_hand, cpus=64, memory_mb=700)
    claimed = [
        await claims.claim_next_stage(by_hand.engine, by_hand.notifier, by_cpus, host_id) for _ in range(3)
    ]
    assert [claim is not None for claim in claimed] == [True, True, False]
    host_id = await host_of(by_hand, by_memory)
    claimed = [
        await claims.claim_next_stage(by_hand.engine, by_hand.notifier, by_memory, host_id) for _ in range(2)
    ]
    assert [claim is not None for claim in claimed] == [True, False]


async def host_of(by_hand: ByHand, worker_id: uuid.UUID) -> uuid.UUID:
    (row,) = await by_hand.rows(sa.select(workers.c.host_id).where(workers.c.id == worker_id))
    host_id: uuid.UUID = row.host_id
    return host_id


async def fail_unschedulable(by_hand: ByHand) -> list[bool]:
    async with by_hand.engine.connect() as connection:
        found = await unschedulable_stages(connection, LOST_AFTER_SECONDS)
    limits = (by_hand.worker_id, LOST_AFTER_SECONDS)
    return [
        await unschedulable.fail_unschedulable_stage(
            by_hand.engine, by_hand.notifier, limits[0], *where, limits[1]
        )
        for where in found
    ]


async def test_a_stage_too_large_for_every_worker_fails_and_says_by_how_much(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("huge", resources={"cpus": 1000}), stage("after", ["huge"]))
    assert await by_hand.claim() is None
    assert await fail_unschedulable(by_hand) == [True]
    huge, after = (await by_hand.stages(run_id)).values()
    assert (huge.status, huge.finish_reason) == (StageStatus.FAILED, FinishReason.START_FAILED)
    assert huge.error_message == (
        "no worker is large enough: the stage asks for 1000 CPUs, the largest has 100 CPUs"
    )
    assert after.status is StageStatus.SKIPPED
    await by_hand.check(run_id)


@pytest.mark.parametrize(("silent_seconds", "waits"), [(60, True), (LOST_AFTER_SECONDS + 1, False)])
async def test_a_large_stage_waits_for_a_large_worker_that_may_come_back(
    by_hand: ByHand, silent_seconds: float, waits: bool
) -> None:
    host_id = new_id()
    await other_worker(by_hand, host_id, cpus=2000)
    await silence(by_hand, host_id, silent_seconds)
    await by_hand.started(stage("huge", resources={"cpus": 1000}))
    assert await fail_unschedulable(by_hand) == ([] if waits else [True])


async def test_a_pipeline_runs_no_more_at_once_than_it_allows_and_holds_up_no_other(by_hand: ByHand) -> None:
    limited = await by_hand.pipeline(stage("a"), maxConcurrentRuns=2)
    runs = [await by_hand.queue(limited) for _ in range(3)]
    other = await by_hand.queue(await by_hand.pipeline(stage("a")))
    assert [await by_hand.begin() for _ in range(4)] == [*runs[:2], other, None]
    await by_hand.cancel(runs[0])
    assert await by_hand.begin() == runs[2]


async def test_runs_and_stages_of_a_higher_priority_go_first(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"), stage("b"))
    low = await by_hand.queue(pipeline_id)
    high = await by_hand.queue(pipeline_id, run_config={"priority": 5})
    assert [await by_hand.begin(), await by_hand.begin()] == [high, low]
    rows = [await by_hand.claim() for _ in range(3)]
    assert [row.pipeline_run_id for row in rows if row] == [high, high, low]


async def test_a_worker_frozen_in_the_middle_of_a_claim_holds_up_the_others_for_a_while_only(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(stage("a"))
    frozen = create_engine(by_hand.engine.url, idle_transaction_seconds=0.5)
    async with frozen.connect() as connection:
        await take_claims_lock(connection)
        await connection.execute(sa.text("SELECT 1 FROM pipeline_runs FOR UPDATE"))
        await by_hand.claimed("a")
        await connection.invalidate()
    await frozen.dispose()
    await by_hand.check(run_id)
