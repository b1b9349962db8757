"""What follows when a stage ends: dependents get ready or are skipped, and at last the run ends."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from app.database.engine import create_engine
from app.database.reads.attempts import active_attempt
from app.database.tables import pipeline_runs, stage_runs
from app.domain.moves import RUN_FINAL, STAGE_FINAL
from app.domain.outcomes import AttemptOutcome
from app.domain.vocabulary import FinishReason, Phase, RunStatus
from app.errors import DomainError
from app.services.pipelines import update_pipeline
from app.services.state import stop_requests
from tests.moved_runs import EXIT_3, LOST, STOPPED, ByHand, draft, key_of, stage

DIAMOND = (stage("a"), stage("b", ["a"]), stage("c", ["a"]), stage("d", ["b", "c"]))
TIMED_OUT = AttemptOutcome(FinishReason.TIMED_OUT)


async def test_a_stage_waits_for_all_it_depends_on(by_hand: ByHand) -> None:
    run_id = await by_hand.started(*DIAMOND)
    await by_hand.complete(await by_hand.claimed("a"))
    b, c = await by_hand.claimed("b"), await by_hand.claimed("c")
    await by_hand.complete(b)
    assert (await by_hand.claim()) is None
    await by_hand.complete(c)
    await by_hand.complete(await by_hand.claimed("d"))
    run = await by_hand.run(run_id)
    assert (run.status, run.success_count, run.finish_reason) == (
        RunStatus.COMPLETED,
        4,
        FinishReason.EXITED,
    )
    await by_hand.check(run_id)


async def test_two_last_dependencies_that_end_at_once_ready_their_dependent_once(by_hand: ByHand) -> None:
    run_id = await by_hand.started(*DIAMOND)
    await by_hand.complete(await by_hand.claimed("a"))
    b, c = await by_hand.claimed("b"), await by_hand.claimed("c")
    await asyncio.gather(by_hand.complete(b), by_hand.complete(c))
    await by_hand.claimed("d")
    readied = [event for event in await by_hand.events(run_id) if event.kind == "STAGE_READIED"]
    assert len(readied) == 3
    await by_hand.check(run_id)


async def test_only_what_lies_below_a_failure_is_skipped_when_the_run_is_not_fail_fast(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(*DIAMOND, stage("alone"), failFast=False)
    await by_hand.complete_all(but="b")
    assert await by_hand.statuses(run_id) == {
        "a": "COMPLETED",
        "b": "FAILED",
        "c": "COMPLETED",
        "d": "SKIPPED",
        "alone": "COMPLETED",
    }
    run = await by_hand.run(run_id)
    assert (run.status, run.error_message) == (
        RunStatus.FAILED,
        "stage 'b' failed: the command exited with code 3",
    )
    await by_hand.check(run_id)


async def test_fail_fast_cancels_what_waits_and_asks_for_the_end_of_what_runs(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"), stage("c"), stage("below a", ["a"]))
    a, b = await by_hand.claimed("a"), await by_hand.claimed("b")
    await by_hand.run_stage(b)
    await by_hand.fail(a)
    assert await by_hand.statuses(run_id) == {
        "a": "FAILED",
        "b": "RUNNING",
        "c": "CANCELLED",
        "below a": "SKIPPED",
    }
    assert (await by_hand.stages(run_id))["b"].stop_requested_at is not None
    assert (await by_hand.run(run_id)).status is RunStatus.RUNNING
    await by_hand.fail(b, STOPPED)
    assert (await by_hand.run(run_id)).status is RunStatus.FAILED
    await by_hand.check(run_id)


async def test_a_stage_is_asked_to_stop_once_and_keeps_the_first_reason(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"))
    a, b = await by_hand.claimed("a"), await by_hand.claimed("b")
    await by_hand.fail(a)
    await by_hand.expire(run_id)
    assert await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    kinds = [event.kind for event in await by_hand.events(run_id)]
    assert kinds.count("STAGE_STOP_REQUESTED") == 1
    await by_hand.fail(b, STOPPED)
    assert await by_hand.statuses(run_id) == {"a": "FAILED", "b": "CANCELLED"}
    await by_hand.check(run_id)


async def test_what_is_collected_when_its_run_fails_may_end_well_but_is_not_tried_again(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"), stage("c"))
    a, b, c = [await by_hand.claimed(name) for name in "abc"]
    for row in (b, c):
        await by_hand.run_stage(row)
        await by_hand.collect(row)
    await by_hand.fail(a)
    await by_hand.complete(b)
    await by_hand.fail(c, LOST)
    assert await by_hand.statuses(run_id) == {"a": "FAILED", "b": "COMPLETED", "c": "CANCELLED"}
    assert (await by_hand.run(run_id)).status is RunStatus.FAILED
    await by_hand.check(run_id)


async def test_a_driver_of_what_is_collected_sees_that_the_time_of_the_run_is_over(by_hand: ByHand) -> None:
    """It may be waiting for room on its disk, which is not needed any more."""
    run_id = await by_hand.started(stage("a"))
    a = await by_hand.claimed("a")
    await by_hand.run_stage(a)
    await by_hand.collect(a)
    await by_hand.expire(run_id)
    assert await stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, run_id)
    async with by_hand.engine.connect() as connection:
        attempt = await active_attempt(connection, str(key_of(a)))
    assert attempt is not None
    assert attempt.is_asked_to_stop
    await by_hand.fail(a, STOPPED)
    run = await by_hand.run(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.TIMED_OUT)


async def test_an_allowed_failure_readies_its_dependents_and_leaves_the_run_completed(
    by_hand: ByHand,
) -> None:
    run_id = await by_hand.started(stage("try", allowFailure=True), stage("after", ["try"]))
    await by_hand.complete_all(but="try")
    run = await by_hand.run(run_id)
    assert (run.status, run.success_count, run.failed_count) == (RunStatus.COMPLETED, 1, 1)
    await by_hand.check(run_id)


async def test_the_first_failure_in_time_explains_the_run(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b"), failFast=False)
    a, b = await by_hand.claimed("a"), await by_hand.claimed("b")
    await by_hand.fail(b, TIMED_OUT)
    await by_hand.fail(a)
    run = await by_hand.run(run_id)
    assert run.error_message.startswith("stage 'b' failed")
    assert run.finish_reason is FinishReason.TIMED_OUT


async def test_a_chain_of_5000_stages_fails_within_the_time_of_a_statement_whatever_plan_is_kept(
    by_hand: ByHand,
) -> None:
    engine = create_engine(by_hand.engine.url)
    event.listen(engine.sync_engine, "connect", keep_generic_plans)
    by_hand = replace(by_hand, engine=engine)
    await by_hand.execute(sa.text("ANALYZE"))
    await by_hand.started(stage("a"), stage("b", ["a"]))
    await by_hand.complete_all()
    chain = [stage(f"s{n}", [f"s{n - 1}"] if n else []) for n in range(5000)]
    run_id = await by_hand.queue(await by_hand.pipeline(*chain))
    await by_hand.begin()
    await by_hand.fail(await by_hand.claimed("s0"))
    run = await by_hand.run(run_id)
    assert (run.status, run.open_stage_count, run.failed_count) == (RunStatus.FAILED, 0, 1)
    # queued, started, claimed, 5000 ends, finished
    assert run.last_event_seq == 5004
    await by_hand.check(run_id)
    await engine.dispose()


def keep_generic_plans(connection: Any, _: object) -> None:
    """As PostgreSQL does of itself once it has executed a statement some times."""
    cursor = connection.cursor()
    cursor.execute("SET plan_cache_mode = force_generic_plan")
    cursor.close()
    connection.commit()


MOODS = (
    {"fail": 0.0, "cancel": 0.0, "expire": 0.0},
    {"fail": 4.0, "cancel": 0.0, "expire": 0.0},
    {"fail": 2.0, "cancel": 0.2, "expire": 0.0},
    {"fail": 2.0, "cancel": 0.1, "expire": 0.1},
)
"""How often things go wrong, by turns: never, of themselves, as users want it, in every way.

A cancel or a deadline ends everything, so they are rare: most of a life is to come before.
"""

ROUNDS_LIMIT = 2000
"""Many times what any of these runs needs."""


class RandomRun:
    """Does to one run, in any order and up to three at once, what supervisors and users do."""

    def __init__(self, by_hand: ByHand, seed: int) -> None:
        self._by_hand = by_hand
        self._numbers = random.Random(seed)
        self._mood = MOODS[seed % len(MOODS)]
        self._final: dict[uuid.UUID, Any] = {}
        self._draft = self._random_draft()
        self.run_id = uuid.UUID(int=0)

    @property
    def can_go_wrong(self) -> bool:
        return any(self._mood.values())

    def _random_draft(self) -> dict[str, Any]:
        pick = self._numbers
        stages = [
            stage(
                f"s{n}",
                [f"s{other}" for other in pick.sample(range(n), min(n, pick.randrange(3)))],
                allowFailure=pick.random() < 0.2,
                retries={"limit": pick.randrange(2), "delay": 0},
            )
            for n in range(pick.randrange(2, 8))
        ]
        limit = pick.choice([None, 1, 3])
        return draft(*stages, failFast=pick.random() < 0.5, maxConcurrentStages=limit)

    async def live(self) -> sa.Row[Any]:
        """From the queue to the end; the run's last row."""
        by_hand = self._by_hand
        self._pipeline_id = await by_hand.pipeline(*self._draft["stages"], **self._draft["config"])
        self.run_id = await by_hand.queue(self._pipeline_id)
        for _ in range(ROUNDS_LIMIT):
            stages = await by_hand.stages(self.run_id)
            chosen = [self._any_move(stages) for _ in range(self._numbers.randrange(1, 4))]
            results = await asyncio.gather(*chosen, return_exceptions=True)
            for error in results:
                if isinstance(error, BaseException) and not isinstance(error, DomainError):
                    raise error
            await by_hand.check(self.run_id)
            await self._check_that_final_rows_stay()
            run = await by_hand.run(self.run_id)
            if run.cancel_requested_at is not None or run.finish_reason is not None:
                await self._check_that_nothing_waits()
            if run.status in RUN_FINAL:
                return run
        raise AssertionError("the run never ended")

    def _any_move(self, stages: Mapping[str, Any]) -> Awaitable[object]:
        by_hand, pick, mood = self._by_hand, self._numbers, self._mood
        still_open = [row for row in stages.values() if row.phase is not Phase.FINAL]
        row = pick.choice(still_open if pick.random() < 0.9 else list(stages.values()))
        outcomes = [EXIT_3, LOST, STOPPED, TIMED_OUT]
        moves: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (6, by_hand.begin),
            (8, by_hand.claim),
            (6, lambda: by_hand.run_stage(row)),
            (6, lambda: by_hand.complete(row)),
            (3, lambda: by_hand.collect(row)),
            (mood["fail"], lambda: by_hand.fail(row, pick.choice(outcomes))),
            (3, lambda: by_hand.make_due(self.run_id)),
            (mood["cancel"], lambda: by_hand.cancel(self.run_id)),
            (
                mood["expire"],
                lambda: stop_requests.stop_overdue_run(by_hand.engine, by_hand.notifier, self.run_id),
            ),
            (1, lambda: update_pipeline(by_hand.engine, self._pipeline_id, self._draft)),
        ]
        (move,) = pick.choices([move for _, move in moves], [weight for weight, _ in moves])
        return move()

    async def _check_that_nothing_waits(self) -> None:
        """Once the end of the run was asked for, nothing new may begin."""
        stages = await self._by_hand.stages(self.run_id)
        assert not {row.phase for row in stages.values()} & {Phase.BLOCKED, Phase.READY}

    async def _check_that_final_rows_stay(self) -> None:
        for table in (stage_runs, pipeline_runs):
            own = table.c.pipeline_run_id if table is stage_runs else table.c.id
            rows = await self._by_hand.rows(sa.select(table).where(own == self.run_id))
            for row in rows:
                if row.status in STAGE_FINAL | RUN_FINAL:
                    assert self._final.setdefault(row.id, row) == row


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_in_whatever_order_rows_counters_and_events_agree(
    by_hand: ByHand, seed: int
) -> None:
    life = RandomRun(by_hand, seed)
    run = await life.live()
    assert run.status is RunStatus.COMPLETED or life.can_go_wrong
    assert await by_hand.claim() is None
    with pytest.raises(DomainError):
        await by_hand.cancel(life.run_id)
    for row in (await by_hand.stages(life.run_id)).values():
        assert row.phase is Phase.FINAL
        assert not await by_hand.fail(row)
    assert await by_hand.run(life.run_id) == run
