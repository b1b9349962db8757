"""Reuse of an earlier execution's results: one transaction that loses every race it has to lose."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from app.database import retention
from app.database.reads import cache
from app.database.reads.attempts import inputs_of
from app.database.reads.cache import Execution
from app.database.tables import pipelines, stage_attempts, stage_runs
from app.domain.attempts import AttemptKey
from app.domain.cache.keys import digest_of
from app.domain.cache.misses import CacheMiss, MissReason
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.errors import DomainError, ErrorCode
from app.services.run_records import delete_run
from app.services.state.cache_hits import record_miss, reuse_result, withdraw_key
from tests.moved_runs import LOST, ByHand, output, stage, waiters

KEY = {"params": {"lr": 0.1}, "files": {"train.py": "1" * 64}}
DIGEST = digest_of(KEY)
FIRST = CacheMiss(MissReason.FIRST)


class Cached:
    """A pipeline ``train`` -> ``report`` whose stage ``train`` was executed once with ``KEY``."""

    def __init__(self, by_hand: ByHand) -> None:
        self.by_hand = by_hand
        self.pipeline_id: uuid.UUID
        self.source: sa.Row[Any]

    async def execute(self) -> sa.Row[Any]:
        """The first run, from its start to its end; answers its stage run ``train``."""
        by_hand = self.by_hand
        self.pipeline_id = await by_hand.pipeline(stage("train", cache=True), stage("report", ["train"]))
        row = await self.claim()
        assert await self.note(row)
        log = output("output.log", is_captured_log=True)
        assert await by_hand.complete(
            row, output("model.bin"), log, metrics={"score": 0.5}, output_data={"a": 1}
        )
        await by_hand.complete_all()
        self.source = (await by_hand.stages(row.pipeline_run_id))["train"]
        return self.source

    async def claim(self) -> sa.Row[Any]:
        """The stage ``train`` of a new run, claimed."""
        await self.by_hand.queue(self.pipeline_id)
        await self.by_hand.begin()
        return await self.by_hand.claimed("train")

    async def note(self, row: sa.Row[Any]) -> bool:
        return await record_miss(self.by_hand.engine, self.by_hand.notifier, key_of(row), KEY, FIRST)

    async def reuse_result(self, row: sa.Row[Any]) -> bool:
        return await reuse_result(
            self.by_hand.engine, self.by_hand.notifier, key_of(row), self.source.id, DIGEST
        )

    async def found(self, row: sa.Row[Any], digest: str = DIGEST) -> Execution | None:
        async with self.by_hand.engine.connect() as connection:
            return await cache.execution_with_key(connection, row.id, digest)

    async def last(self, row: sa.Row[Any]) -> Execution | None:
        async with self.by_hand.engine.connect() as connection:
            return await cache.last_execution(connection, row.id)

    async def now(self, row: sa.Row[Any]) -> sa.Row[Any]:
        found: sa.Row[Any] = (await self.by_hand.stages(row.pipeline_run_id))["train"]
        return found


def key_of(row: sa.Row[Any]) -> AttemptKey:
    return AttemptKey(row.pipeline_run_id, row.id, row.attempt_number)


@pytest.fixture
def cached(by_hand: ByHand) -> Cached:
    return Cached(by_hand)


async def test_a_stage_run_that_reuses_a_result_is_completed_like_its_source(cached: Cached) -> None:
    source = await cached.execute()
    row = await cached.claim()
    assert await cached.reuse_result(row)
    hit = await cached.now(row)
    assert (hit.phase, hit.status, hit.cache_hit) == (Phase.FINAL, StageStatus.COMPLETED, True)
    assert (hit.reused_from_id, hit.finish_reason) == (source.id, FinishReason.EXITED)
    assert (hit.metrics, hit.output_data) == ({"score": 0.5}, {"a": 1})
    assert (hit.started_at, hit.execution_time, hit.exit_code) == (None, None, None)
    await cached.by_hand.check(row.pipeline_run_id)


async def test_dependents_of_a_hit_get_ready_and_find_the_files_of_its_source(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    await cached.reuse_result(row)
    report = await cached.by_hand.claimed("report")
    async with cached.by_hand.engine.connect() as connection:
        files = await inputs_of(connection, report.depends_on)
    assert [(file.dependency, file.relative_path) for file in files] == [("train", "model.bin")]
    await cached.by_hand.complete(report)
    run = await cached.by_hand.run(row.pipeline_run_id)
    assert (run.status, run.output_data) == (RunStatus.COMPLETED, {"train": {"a": 1}})
    await cached.by_hand.check(row.pipeline_run_id)


async def test_a_hit_is_no_source_but_leads_to_the_execution_it_came_from(cached: Cached) -> None:
    source = await cached.execute()
    await cached.reuse_result(await cached.claim())
    await cached.by_hand.complete_all()
    row = await cached.claim()
    found = await cached.found(row)
    assert found is not None
    assert (found.stage_run_id, found.key) == (source.id, KEY)
    assert await cached.last(row) == found


async def test_a_hit_in_a_later_attempt_is_no_source_either(cached: Cached) -> None:
    """Its first attempt was about to be executed, and noted its key."""
    source = await cached.execute()
    row = await cached.claim()
    await cached.note(row)
    await cached.by_hand.fail(row, LOST)
    assert await cached.reuse_result(await cached.by_hand.claimed("train"))
    await cached.by_hand.complete_all()
    hit = await cached.now(row)
    assert (hit.cache_hit, hit.cache_key, hit.cache_parts, hit.cache_miss) == (True, None, None, None)
    found = await cached.found(await cached.claim())
    assert found is not None
    assert found.stage_run_id == source.id


async def test_an_execution_is_found_by_its_stage_and_its_key_only(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    assert await cached.found(row, "0" * 64) is None
    await cached.by_hand.complete(row)
    await cached.by_hand.complete_all()
    await Cached(cached.by_hand).execute()  # with the same key, but in another pipeline
    found = await cached.found(await cached.claim())
    assert found is not None
    assert found.stage_run_id == cached.source.id


async def test_only_a_completed_execution_is_found(cached: Cached) -> None:
    by_hand = cached.by_hand
    cached.pipeline_id = await by_hand.pipeline(stage("train", cache=True))
    failed, cancelled = await cached.claim(), await cached.claim()
    at_work = await cached.claim()
    for row in (failed, cancelled, at_work):
        await cached.note(row)
    await by_hand.fail(failed)
    await by_hand.cancel(cancelled.pipeline_run_id)
    await by_hand.fail(cancelled, LOST)
    row = await cached.claim()
    assert await cached.found(row) is None
    assert await cached.last(row) is None


async def test_an_execution_whose_files_changed_is_compared_with_but_not_taken(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    await cached.note(row)
    by_hand = cached.by_hand
    assert await withdraw_key(by_hand.engine, by_hand.notifier, key_of(row))
    await by_hand.complete(row)
    await by_hand.complete_all()
    third = await cached.claim()
    last, found = await cached.last(third), await cached.found(third)
    assert last is not None
    assert found is not None
    assert (last.stage_run_id, last.digest, last.key) == (row.id, None, KEY)
    assert found.stage_run_id == cached.source.id


async def test_a_cancel_that_came_before_wins(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    await cached.by_hand.cancel(row.pipeline_run_id)
    assert not await cached.reuse_result(row)
    assert not await cached.note(row)
    assert (await cached.now(row)).phase is Phase.CLAIMED
    await cached.by_hand.check(row.pipeline_run_id)


async def test_a_cancel_that_came_later_leaves_the_hit_completed(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    assert await cached.reuse_result(row)
    await cached.by_hand.cancel(row.pipeline_run_id)
    assert await cached.by_hand.statuses(row.pipeline_run_id) == {"train": "COMPLETED", "report": "CANCELLED"}
    await cached.by_hand.check(row.pipeline_run_id)


async def test_of_a_cancel_and_a_hit_at_the_same_moment_exactly_one_decides(cached: Cached) -> None:
    await cached.execute()
    for _ in range(10):
        row = await cached.claim()
        hit, _ = await asyncio.gather(cached.reuse_result(row), cached.by_hand.cancel(row.pipeline_run_id))
        now = await cached.now(row)
        assert now.cache_hit == hit
        assert (now.status is StageStatus.COMPLETED) == hit
        assert (now.stop_requested_at is None) == hit
        await cached.by_hand.check(row.pipeline_run_id)


async def test_an_attempt_that_was_given_up_takes_nothing_over(cached: Cached) -> None:
    """Its host was silent for too long; another one has the stage by now."""
    await cached.execute()
    row = await cached.claim()
    await cached.by_hand.fail(row, LOST)
    assert not await cached.reuse_result(row)
    assert not await cached.note(row)
    again = await cached.by_hand.claimed("train")
    assert again.attempt_number == 2
    assert not await cached.reuse_result(row)
    assert await cached.reuse_result(again)
    assert not await cached.reuse_result(again)


async def test_a_process_that_runs_is_not_overtaken(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    await cached.by_hand.run_stage(row)
    assert not await cached.reuse_result(row)


async def test_a_run_whose_results_are_reused_can_not_be_deleted(cached: Cached) -> None:
    source = await cached.execute()
    row = await cached.claim()
    await cached.reuse_result(row)
    await cached.by_hand.complete_all()
    with pytest.raises(DomainError) as refusal:
        await delete_run(cached.by_hand.engine, cached.by_hand.notifier, source.pipeline_run_id)
    assert refusal.value.code is ErrorCode.NOT_DELETABLE
    await delete_run(cached.by_hand.engine, cached.by_hand.notifier, row.pipeline_run_id)
    await delete_run(cached.by_hand.engine, cached.by_hand.notifier, source.pipeline_run_id)


async def test_a_source_that_was_deleted_meanwhile_is_not_reused(cached: Cached) -> None:
    source = await cached.execute()
    row = await cached.claim()
    await delete_run(cached.by_hand.engine, cached.by_hand.notifier, source.pipeline_run_id)
    assert not await cached.reuse_result(row)
    assert await cached.note(row)


async def test_a_source_that_is_being_deleted_is_not_waited_for(cached: Cached) -> None:
    """The deletion may in turn wait for the run that wants to reuse it."""
    source = await cached.execute()
    row = await cached.claim()
    async with cached.by_hand.engine.begin() as deleting:
        await deleting.execute(
            sa.select(stage_runs.c.id).where(stage_runs.c.id == source.id).with_for_update()
        )
        with anyio.fail_after(10):
            assert not await cached.reuse_result(row)
    assert await cached.reuse_result(row)


async def test_a_source_that_is_being_reused_can_not_be_deleted_at_the_same_time(cached: Cached) -> None:
    source = await cached.execute()
    row = await cached.claim()
    engine, notifier = cached.by_hand.engine, cached.by_hand.notifier
    async with engine.begin() as holding:
        # Both wait: the one that takes over for this row with the source in its hands, the other for the source.
        pipeline = sa.select(pipelines.c.id).where(pipelines.c.id == cached.pipeline_id)
        await holding.execute(pipeline.with_for_update())
        taking = asyncio.create_task(cached.reuse_result(row))
        await waiters(cached.by_hand, 1)
        deleting = asyncio.create_task(delete_run(engine, notifier, source.pipeline_run_id))
        await waiters(cached.by_hand, 2)
    assert await taking
    with pytest.raises(DomainError, match="reuse results"):
        await deleting


async def test_the_attempt_of_a_hit_is_closed_without_a_start(cached: Cached) -> None:
    await cached.execute()
    row = await cached.claim()
    await cached.reuse_result(row)
    (attempt,) = await cached.by_hand.rows(
        sa.select(stage_attempts).where(stage_attempts.c.stage_run_id == row.id)
    )
    assert (attempt.attempt, attempt.started_at, attempt.finish_reason) == (1, None, None)
    assert attempt.finished_at is not None


async def test_retention_sees_that_a_run_is_still_needed(cached: Cached) -> None:
    source = await cached.execute()
    row = await cached.claim()
    await cached.reuse_result(row)
    async with cached.by_hand.engine.begin() as connection:
        until = await retention.days_ago(connection, -1)
        expired = await retention.expired_runs(connection, retention.OLDEST, until, 10)
    assert source.pipeline_run_id not in {age.run_id for age in expired}
