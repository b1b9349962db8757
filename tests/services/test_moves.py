"""Moves of runs and stage runs: a late or second report changes nothing, and every move has its event."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.database.reads.attempts import active_attempt
from app.database.tables import pipeline_runs, stage_attempts, stage_runs, workers
from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES
from app.domain.outcomes import AttemptOutcome
from app.domain.retry import LOST_LIMIT
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.errors import DomainError, ErrorCode
from app.services.state import attempt_reports, stop_requests
from app.services.state.run_transaction import RunTransaction, lock_run, run_transaction
from tests.moved_runs import EXIT_3, LOST, STOPPED, ByHand, key_of, output, stage
from tests.registered_workers import register_worker

STARTED = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def attempts_of(by_hand: ByHand, row: sa.Row[Any]) -> list[sa.Row[Any]]:
    statement = sa.select(stage_attempts).where(stage_attempts.c.stage_run_id == row.id)
    return list(await by_hand.rows(statement.order_by(stage_attempts.c.attempt)))


async def test_eight_claimers_take_eight_different_stages(by_hand: ByHand) -> None:
    run_id = await by_hand.started(*[stage(f"s{n}") for n in range(8)])
    rows = await asyncio.gather(*[by_hand.claim() for _ in range(8)])
    assert {row.name for row in rows if row} == {f"s{n}" for n in range(8)}
    assert {row.attempt_number for row in rows if row} == {1}
    await by_hand.check(run_id)


async def test_one_ready_stage_is_claimed_once(by_hand: ByHand) -> None:
    await by_hand.started(stage("only"))
    rows = await asyncio.gather(*[by_hand.claim() for _ in range(5)])
    assert sum(row is not None for row in rows) == 1


async def test_the_oldest_run_starts_first_and_no_more_than_allowed(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    queued = [await by_hand.queue(pipeline_id) for _ in range(4)]
    begun = await asyncio.gather(*[by_hand.begin(running_limit=3) for _ in range(6)])
    assert sorted(run_id for run_id in begun if run_id) == queued[:3]


async def test_runs_take_turns_and_each_goes_in_the_order_of_its_pipeline(by_hand: ByHand) -> None:
    older = await by_hand.started(*[stage(f"s{n}") for n in range(4)])
    newer = await by_hand.started(stage("first"), stage("second"))
    rows = [await by_hand.claim() for _ in range(6)]
    assert [(row.pipeline_run_id, row.name) for row in rows if row] == [
        (older, "s0"),
        (newer, "first"),
        (older, "s1"),
        (newer, "second"),
        (older, "s2"),
        (older, "s3"),
    ]


async def test_a_pipelines_limit_holds_but_does_not_hold_up_other_runs(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"), stage("b"), maxConcurrentStages=1)
    await by_hand.started(stage("other"))
    first = await by_hand.claimed("a")
    await by_hand.claimed("other")
    assert await by_hand.claim() is None
    await by_hand.complete(first)
    await by_hand.claimed("b")


async def test_a_worker_whose_lease_ran_out_gets_nothing(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    await by_hand.queue(pipeline_id)
    await by_hand.begin()
    await by_hand.queue(pipeline_id)
    await by_hand.execute(sa.update(workers).values(lease_until=sa.func.now()))
    assert await by_hand.claim() is None
    assert await by_hand.begin() is None


async def test_an_attempt_knows_what_is_left_of_its_runs_time_on_the_databases_clock(by_hand: ByHand) -> None:
    await by_hand.queue(await by_hand.pipeline(stage("a")))
    await by_hand.begin(timeout_seconds=3600)
    key = key_of(await by_hand.claimed("a"))
    async with by_hand.engine.connect() as connection:
        attempt = await active_attempt(connection, str(key))
    assert attempt is not None
    assert attempt.seconds_to_deadline is not None
    assert 3000 < attempt.seconds_to_deadline <= 3600


async def test_a_report_of_an_older_attempt_changes_nothing(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a", retries={"limit": 1, "delay": 0}))
    first = await by_hand.claimed("a")
    await by_hand.fail(first)
    await by_hand.make_due(run_id)
    second = await by_hand.claimed("a")
    assert second.attempt_number == 2
    before = (await by_hand.run(run_id), await by_hand.stages(run_id))
    assert not await by_hand.run_stage(first)
    assert not await by_hand.collect(first)
    assert not await by_hand.complete(first, output("late.txt"))
    assert not await by_hand.fail(first)
    assert (await by_hand.run(run_id), await by_hand.stages(run_id)) == before


async def test_of_two_reports_of_one_end_the_first_counts(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), failFast=False)
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    results = await asyncio.gather(by_hand.complete(row, output("x")), by_hand.fail(row))
    assert sorted(results) == [False, True]
    await by_hand.check(run_id)


async def test_a_process_that_ended_before_its_start_was_seen_may_be_collected(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    assert await by_hand.collect(row)
    assert not await by_hand.run_stage(row)
    outcome = AttemptOutcome(FinishReason.EXITED, exit_code=0, started_at=STARTED)
    assert await by_hand.complete(row, outcome=outcome)
    assert (await by_hand.stages(run_id))["a"].started_at == STARTED


async def test_a_failed_attempt_is_tried_again_after_its_delay(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a", retries={"limit": 1, "delay": 3600, "maxDelay": 3600}))
    row = await by_hand.claimed("a")
    await by_hand.run_stage(row)
    await by_hand.fail(row, EXIT_3, output("output.log", is_captured_log=True))
    waiting = (await by_hand.stages(run_id))["a"]
    assert (waiting.status, waiting.phase) == (StageStatus.PENDING, Phase.READY)
    assert waiting.not_before > datetime.now(UTC) + timedelta(minutes=20)
    assert await by_hand.claim() is None
    await by_hand.make_due(run_id)
    await by_hand.fail(await by_hand.claimed("a"))
    assert (await by_hand.stages(run_id))["a"].status is StageStatus.FAILED
    attempts = await attempts_of(by_hand, row)
    assert [(attempt.attempt, attempt.finish_reason, attempt.exit_code) for attempt in attempts] == [
        (1, FinishReason.EXITED, 3),
        (2, FinishReason.EXITED, 3),
    ]
    await by_hand.check(run_id)


async def test_lost_attempts_have_a_budget_of_their_own(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a", retries={"limit": 1, "delay": 0}))
    for _ in range(LOST_LIMIT):
        await by_hand.fail(await by_hand.claimed("a"), LOST)
    await by_hand.fail(await by_hand.claimed("a"))
    await by_hand.make_due(run_id)
    await by_hand.fail(await by_hand.claimed("a"), LOST)
    row = (await by_hand.stages(run_id))["a"]
    assert (row.status, row.finish_reason, row.lost_count) == (StageStatus.FAILED, FinishReason.LOST, 3)
    assert row.attempt_number == LOST_LIMIT + 2


async def test_a_runner_stopped_from_outside_counts_as_lost_and_not_as_cancelled(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    for _ in range(LOST_LIMIT + 1):
        await by_hand.fail(await by_hand.claimed("a"), STOPPED)
    row = (await by_hand.stages(run_id))["a"]
    assert (row.status, row.finish_reason) == (StageStatus.FAILED, FinishReason.LOST)


async def test_a_lost_attempt_keeps_the_time_it_started(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    for _ in range(LOST_LIMIT):
        await by_hand.fail(await by_hand.claimed("a"), LOST)
    row = await by_hand.claimed("a")
    await by_hand.run_stage(row)
    started_at = (await by_hand.stages(run_id))["a"].started_at
    await by_hand.fail(row, LOST)
    assert (await by_hand.stages(run_id))["a"].started_at == started_at is not None
    assert (await attempts_of(by_hand, row))[-1].started_at == started_at


async def test_a_stage_run_keeps_its_first_start_and_each_attempt_its_own(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a", retries={"limit": 1, "delay": 0}))
    first = await by_hand.claimed("a")
    await by_hand.run_stage(first)
    started_at = (await by_hand.stages(run_id))["a"].started_at
    await by_hand.fail(first)
    assert (await by_hand.stages(run_id))["a"].started_at == started_at is not None
    await by_hand.make_due(run_id)
    second = await by_hand.claimed("a")
    await by_hand.run_stage(second)
    assert (await by_hand.stages(run_id))["a"].started_at == started_at
    later = started_at + timedelta(seconds=5)
    outcome = AttemptOutcome(FinishReason.EXITED, exit_code=0, started_at=later, wall_seconds=2.5)
    await by_hand.complete(second, outcome=outcome)
    stage_run = (await by_hand.stages(run_id))["a"]
    assert (stage_run.started_at, stage_run.execution_time) == (started_at, 2.5)
    assert [attempt.started_at for attempt in await attempts_of(by_hand, second)] == [started_at, later]


async def test_a_run_starts_when_it_leaves_the_queue_and_not_with_its_first_stage(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    started_at = (await by_hand.run(run_id)).started_at
    assert started_at is not None
    await by_hand.run_stage(await by_hand.claimed("a"))
    assert (await by_hand.run(run_id)).started_at == started_at


async def test_texts_no_database_takes_are_stored_cleaned(by_hand: ByHand) -> None:
    nasty = "a\0b\udc80"
    outcome = AttemptOutcome(
        FinishReason.START_FAILED, error=nasty, log_tail=nasty, evidence={nasty: [nasty, float("nan")]}
    )
    run_id = await by_hand.started(stage("a", retries={"limit": 1, "delay": 0, "on": ["START_FAILED"]}))
    await by_hand.fail(await by_hand.claimed("a"), outcome)
    await by_hand.make_due(run_id)
    row = await by_hand.claimed("a")
    await by_hand.fail(row, outcome)
    ended = (await by_hand.stages(run_id))["a"]
    assert ended.error_message.endswith("a\ufffdb\ufffd")
    assert ended.logs == "a\ufffdb\ufffd"
    assert [attempt.evidence for attempt in await attempts_of(by_hand, row)] == [
        {"a\ufffdb\ufffd": ["a\ufffdb\ufffd", "NaN"]}
    ] * 2


async def test_cancelling_a_waiting_run_ends_it_at_once(by_hand: ByHand) -> None:
    run_id = await by_hand.queue(await by_hand.pipeline(stage("a"), stage("b", ["a"])))
    await by_hand.cancel(run_id)
    run = await by_hand.run(run_id)
    assert (run.status, run.started_at, run.cancel_reason) == (RunStatus.CANCELLED, None, "enough")
    assert await by_hand.statuses(run_id) == {"a": "CANCELLED", "b": "CANCELLED"}
    assert await by_hand.begin() is None
    await by_hand.check(run_id)


async def test_cancelling_waits_for_what_runs(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    row = await by_hand.claimed("a")
    await by_hand.run_stage(row)
    await by_hand.cancel(run_id)
    assert await by_hand.statuses(run_id) == {"a": "RUNNING", "b": "CANCELLED"}
    await by_hand.fail(row, STOPPED)
    run = await by_hand.run(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.CANCELLED, FinishReason.CANCELLED)
    assert (await by_hand.stages(run_id))["a"].finish_reason is FinishReason.CANCELLED
    await by_hand.check(run_id)


async def test_a_cancelled_attempt_is_not_tried_again_however_it_ended(by_hand: ByHand) -> None:
    for ending in (STOPPED, LOST, EXIT_3):
        run_id = await by_hand.started(stage("a", retries={"limit": 9, "delay": 0}))
        row = await by_hand.claimed("a")
        await by_hand.cancel(run_id)
        await by_hand.fail(row, ending)
        assert (await by_hand.stages(run_id))["a"].phase is Phase.FINAL
        await by_hand.check(run_id)


async def test_a_cancel_that_comes_too_late_leaves_the_run_completed(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    await by_hand.cancel(run_id)
    await by_hand.complete(row)
    assert (await by_hand.run(run_id)).status is RunStatus.COMPLETED
    with pytest.raises(DomainError) as refusal:
        await by_hand.cancel(run_id)
    assert refusal.value.code is ErrorCode.NOT_CANCELLABLE


async def test_ten_cancels_at_once_are_one_cancel(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"))
    row = await by_hand.claimed("a")
    await asyncio.gather(*[by_hand.cancel(run_id, f"reason {n}") for n in range(10)])
    kinds = [event.kind for event in await by_hand.events(run_id)]
    assert (kinds.count("RUN_CANCEL_REQUESTED"), kinds.count("STAGE_STOP_REQUESTED")) == (1, 1)
    await by_hand.fail(row, STOPPED)
    await by_hand.check(run_id)


async def test_cancel_and_completion_at_once_agree_on_one_end(by_hand: ByHand) -> None:
    for _ in range(4):
        run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
        row = await by_hand.claimed("a")
        await by_hand.collect(row)
        await asyncio.gather(by_hand.complete(row), by_hand.cancel(run_id))
        assert await by_hand.statuses(run_id) == {"a": "COMPLETED", "b": "CANCELLED"}
        assert (await by_hand.run(run_id)).status is RunStatus.CANCELLED
        await by_hand.check(run_id)


async def test_cancel_and_start_at_once_agree(by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("a"))
    for _ in range(4):
        run_id = await by_hand.queue(pipeline_id)
        await asyncio.gather(by_hand.begin(), by_hand.claim(), by_hand.cancel(run_id))
        stages = await by_hand.stages(run_id)
        if stages["a"].phase is Phase.CLAIMED:
            assert stages["a"].stop_requested_at is not None
            await by_hand.fail(stages["a"], STOPPED)
        assert (await by_hand.run(run_id)).status is RunStatus.CANCELLED
        await by_hand.check(run_id)


async def test_a_run_past_its_deadline_fails_when_its_last_process_has_ended(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    row = await by_hand.claimed("a")
    assert await stop_requests.overdue_runs(by_hand.engine) == []
    await by_hand.expire(run_id)
    assert await stop_requests.overdue_runs(by_hand.engine) == [run_id]
    stops = [stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id) for _ in range(3)]
    assert sorted(await asyncio.gather(*stops)) == [False, False, True]
    assert await stop_requests.overdue_runs(by_hand.engine) == []
    await by_hand.fail(row, STOPPED)
    run, stages = await by_hand.run(run_id), await by_hand.stages(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.TIMED_OUT)
    assert (stages["a"].status, stages["a"].finish_reason) == (StageStatus.FAILED, FinishReason.TIMED_OUT)
    assert stages["b"].status is StageStatus.CANCELLED
    assert run.error_message == "the run reached its time limit of 3600 s"
    await by_hand.check(run_id)


async def test_a_cancelled_run_does_not_reach_its_deadline_any_more(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.cancel(run_id)
    await by_hand.expire(run_id)
    assert await stop_requests.overdue_runs(by_hand.engine) == []
    assert not await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    await by_hand.fail(row, STOPPED)
    assert (await by_hand.run(run_id)).status is RunStatus.CANCELLED


async def test_another_worker_adopts_an_attempt_and_nothing_else_changes(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    other = await register_worker(by_hand.engine, by_hand.host_id, slots=4)
    assert await attempt_reports.adopt_attempt(by_hand.engine, by_hand.notifier, key_of(row), other)
    taken = (await by_hand.stages(run_id))["a"]
    assert (taken.worker_id, taken.phase, taken.attempt_number) == (other, Phase.CLAIMED, 1)
    assert (await attempts_of(by_hand, row))[0].worker_id == other
    await by_hand.complete(taken)
    assert not await attempt_reports.adopt_attempt(by_hand.engine, by_hand.notifier, key_of(row), other)


async def test_peaks_of_attempts_raise_the_runs_maxima(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"), stage("c"))
    for megabytes, cpu in ((64, 150.0), (256, 50.0), (None, None)):
        row = await by_hand.claim()
        assert row is not None
        peak = None if megabytes is None else megabytes * 2**20
        ended = AttemptOutcome(
            FinishReason.EXITED,
            exit_code=0,
            wall_seconds=2,
            cpu_seconds=1,
            peak_memory_bytes=peak,
            peak_cpu_percent=cpu,
        )
        await by_hand.complete(row, outcome=ended)
    run, stages = await by_hand.run(run_id), await by_hand.stages(run_id)
    assert (run.max_memory_usage, run.max_cpu_usage) == (256, 150)
    assert (stages["a"].memory_usage, stages["a"].cpu_usage, stages["a"].execution_time) == (64, 50, 2)


async def test_a_change_that_fails_leaves_neither_row_nor_event(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.collect(row)
    before = (await by_hand.run(run_id), await by_hand.stages(run_id), await by_hand.events(run_id))
    with pytest.raises(IntegrityError):
        await by_hand.complete(row, output("same name"), output("same name"))
    after = (await by_hand.run(run_id), await by_hand.stages(run_id), await by_hand.events(run_id))
    assert after == before


async def moved(transaction: RunTransaction, phase: Phase) -> sa.Row[Any]:
    """The run's only stage run, its phase set without asking, for which the database's own guard is off."""
    await transaction.connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
    status = StageStatus.COMPLETED if phase is Phase.FINAL else None
    running = phase in (Phase.RUNNING, Phase.COLLECTING)
    await transaction.connection.execute(
        sa.update(stage_runs).values(
            phase=phase, status=status or (StageStatus.RUNNING if running else StageStatus.PENDING)
        )
    )
    (stage_run_id,) = (await transaction.connection.execute(sa.select(stage_runs.c.id))).scalars()
    row = await transaction.stage(stage_run_id, None, tuple(Phase))
    assert row is not None
    return row


async def test_every_move_of_a_stage_run_that_is_not_legal_raises(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    async with by_hand.engine.begin() as connection:
        transaction = await lock_run(connection, run_id)
        for start, legal in LEGAL_STAGE_MOVES.items():
            row = await moved(transaction, start)
            for end in set(Phase) - legal:
                with pytest.raises(AssertionError, match="illegal move"):
                    await transaction.move_stage(row, end, status=StageStatus.COMPLETED)
        await connection.rollback()


async def test_every_move_of_a_run_that_is_not_legal_raises(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    async with by_hand.engine.begin() as connection:
        for start, legal in LEGAL_RUN_MOVES.items():
            transaction = await lock_run(connection, run_id)
            transaction.set_run(status=start)
            for end in set(RunStatus) - legal:
                with pytest.raises(AssertionError, match="illegal move"):
                    transaction.move_run(end)
        await connection.rollback()


async def test_a_stage_run_that_moved_meanwhile_is_not_moved_again(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    row = await by_hand.claimed("a")
    await by_hand.run_stage(row)
    async with run_transaction(by_hand.engine, by_hand.notifier, run_id) as transaction:
        with pytest.raises(AssertionError, match="moved although"):
            await transaction.move_stage(row, Phase.COLLECTING)


HALF_CHANGES: list[tuple[sa.Table, dict[str, Any]]] = [
    (stage_runs, {"status": StageStatus.COMPLETED}),
    (stage_runs, {"status": StageStatus.RUNNING}),
    (stage_runs, {"phase": Phase.FINAL}),
    (stage_runs, {"phase": Phase.RUNNING}),
    (stage_runs, {"waiting_for": -1}),
    (pipeline_runs, {"status": RunStatus.COMPLETED}),
    (pipeline_runs, {"completed_at": STARTED}),
    (pipeline_runs, {"open_stage_count": -1}),
    (pipeline_runs, {"status": RunStatus.FAILED, "completed_at": STARTED}),
]


async def test_the_database_itself_refuses_half_a_status_change(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"))
    for table, wrong in HALF_CHANGES:
        with pytest.raises(IntegrityError, match="ck_"):
            await by_hand.execute(sa.update(table).values(wrong))


async def test_the_database_refuses_a_status_it_does_not_know(by_hand: ByHand) -> None:
    await by_hand.started(stage("a"))
    for table in ("pipelines", "pipeline_stages", "pipeline_runs", "stage_runs"):
        with pytest.raises(IntegrityError, match="ck_"):
            await by_hand.execute(sa.text(f"UPDATE {table} SET status = 'DONE'"))
