"""Drives one attempt from its claim to its end: launch, follow, collect, report. May be restarted at any point."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from functools import cached_property

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import without_transactions
from app.database.outages import is_outage
from app.database.reads.attempts import Attempt, active_attempt
from app.domain.outcomes import AttemptOutcome
from app.domain.vocabulary import FinishReason, Phase
from app.errors import InvalidInput, NotFound
from app.execution.adopt import end_processes
from app.execution.caching import StageCache, has_cache
from app.execution.collect import collect_log, collect_outputs, log_tail
from app.execution.declared_files import FilesUnreadable
from app.execution.executors.base import AttemptState, Executor
from app.execution.executors.by_name import Executors, UnknownExecutor
from app.execution.ingest import Ingest
from app.execution.launch import AttemptLimits, specify_attempt
from app.execution.metric_reader import MetricReader
from app.execution.outcomes import outcome_of, with_unreadable_lines
from app.execution.reports import ReportWriter
from app.notifications.notifier import Notifier
from app.runner.outputs import OutputRefused
from app.services.state import attempt_reports
from app.services.state.outputs import StageOutputs
from app.storage.base import ArtifactStore, StorageError, StorageUnavailable
from app.storage.files import is_full
from app.telemetry import bind_log_ids

logger = logging.getLogger(__name__)

INGEST_INTERVAL_SECONDS = 1.0
INGEST_ALIGNMENT_SECONDS = 0.25
START_POLL_SECONDS = 0.02
RECONNECT_SECONDS = 1.0
STORE_POLL_SECONDS = 5.0
STARTS_LIMIT = 3
POISON_LIMIT = 3


class _Superseded(Exception):
    """The attempt is no longer current: it was declared lost while this host was cut off, or its run was deleted."""


@dataclass(frozen=True)
class AttemptDriver:
    """Drives the attempts of a worker, each in the executor that its stage names."""

    engine: AsyncEngine
    notifier: Notifier
    executors: Executors
    store: ArtifactStore
    limits: AttemptLimits

    async def drive(self, attempt_id: str) -> None:
        """Returns when the attempt has ended and is reported. Waits for the end of outages and full disks."""
        failures: list[Exception] = []
        waits_to_store = False
        while True:
            try:
                attempt = await self._read_attempt(attempt_id)
                if attempt is None:
                    await self._abandon(attempt_id)
                elif waits_to_store and attempt.is_asked_to_stop and not await self._runs(attempt):
                    # Its outputs are not wanted any more, so there is nothing to wait for.
                    await self._end_unfinished(attempt)
                elif len(failures) < POISON_LIMIT:
                    await self._drive(attempt)
                else:
                    await self._give_up(attempt, failures[-1])
                return
            except Exception as error:
                if _can_not_store(error) and not waits_to_store:
                    missing = "room on the disk" if is_full(error) else "the store"
                    logger.warning("attempt %s waits for %s: %s", attempt_id, missing, error)
                waits_to_store = _can_not_store(error)
                if not _is_temporary(error):
                    failures.append(error)
                    logger.exception("attempt %s: unexpected failure %d", attempt_id, len(failures))
                await anyio.sleep(STORE_POLL_SECONDS if waits_to_store else RECONNECT_SECONDS)

    async def _read_attempt(self, attempt_id: str) -> Attempt | None:
        """The attempt as it is now, None if it is not active. Read at each restart: its row may have changed."""
        async with self._reads.connect() as connection:
            attempt = await active_attempt(connection, attempt_id)
        if attempt is not None:
            bind_log_ids(**attempt.key.log_ids)
        return attempt

    async def _abandon(self, attempt_id: str) -> None:
        logger.warning("attempt %s is not current any more; nothing of it is published", attempt_id)
        await self._end(attempt_id)
        await self._forget(attempt_id)

    async def _end(self, attempt_id: str) -> None:
        """In every executor: the attempt's row, which names the right one, may be gone."""
        for executor in self.executors:
            await end_processes(executor, attempt_id)

    async def _forget(self, attempt_id: str) -> None:
        """Files that can't be removed do not keep the attempt from ending."""
        for executor in self.executors:
            try:
                await executor.forget(attempt_id)
            except (OSError, ValueError) as error:
                logger.warning("can't remove attempt %s, the janitor tries again: %s", attempt_id, error)

    async def _runs(self, attempt: Attempt) -> bool:
        return await self._executor(attempt).state(attempt.id) is AttemptState.RUNNING

    def _executor(self, attempt: Attempt) -> Executor:
        return self.executors[attempt.executor]

    async def _end_unfinished(self, attempt: Attempt) -> None:
        """Lets a cancel reach an attempt that waits for the store; on a full disk, removing its files frees space."""
        executor = self._executor(attempt)
        await end_processes(executor, attempt.id)
        outcome = AttemptOutcome(FinishReason.CANCELLED)
        if await executor.state(attempt.id) is AttemptState.DONE:
            outcome = replace(await self._outcome(attempt), reason=FinishReason.CANCELLED)
        await self._fail(attempt, outcome, StageOutputs())
        await self._forget(attempt.id)

    async def _drive(self, attempt: Attempt) -> None:
        executor = self._executor(attempt)
        try:
            if not await self._has_ended_unlaunched(attempt):
                ingest = Ingest(self.engine, self.notifier, executor, self._reports, attempt)
                state = await self._run(attempt, ingest)
                await self._conclude(attempt, state, ingest.metrics)
            await self._forget(attempt.id)
        except (NotFound, _Superseded):
            await self._abandon(attempt.id)

    @cached_property
    def _reads(self) -> AsyncEngine:
        return without_transactions(self.engine)

    @cached_property
    def _reports(self) -> ReportWriter:
        return ReportWriter(self.engine, self.notifier)

    @property
    def _cache(self) -> StageCache:
        return StageCache(self.engine, self.notifier, self.store)

    async def _has_ended_unlaunched(self, attempt: Attempt) -> bool:
        """Whether the stage run has ended without a process: it reuses a result, or its files can't be read."""
        state = self._executor(attempt).state
        if not has_cache(attempt) or await state(attempt.id) is not AttemptState.NEW:
            return False
        try:
            return await self._cache.reuses_result(attempt)
        except FilesUnreadable as refusal:
            outcome = AttemptOutcome(FinishReason.START_FAILED, error=refusal.message)
            await self._fail(attempt, outcome, StageOutputs())
            return True

    async def _run(self, attempt: Attempt, ingest: Ingest) -> AttemptState:
        """Launches the attempt unless it was launched before, and follows it until its process has ended."""
        state = await self._executor(attempt).state(attempt.id)
        if state is AttemptState.NEW and attempt.phase is not Phase.CLAIMED:
            return AttemptState.LOST  # its folder is gone
        for _ in range(STARTS_LIMIT):
            if state is AttemptState.NEW:
                state = await self._launch(attempt)
            state = await self._follow(attempt, state, ingest)
            if state is not AttemptState.NEW:
                return state
            if ingest.has_started:
                break  # a stage that replaced its lock looks like one that was never launched
        return AttemptState.LOST

    async def _launch(self, attempt: Attempt) -> AttemptState:
        executor = self._executor(attempt)
        spec = await specify_attempt(self._reads, attempt, self.limits)
        await executor.prepare(spec, self.store)
        if attempt.is_asked_to_stop:
            await executor.cancel(attempt.id)
        await self._check_current(attempt)
        return await executor.launch(spec)

    async def _check_current(self, attempt: Attempt) -> None:
        """Called before each step that only a current attempt may take: this process may have been paused for long."""
        if await self._read_attempt(attempt.id) is None:
            raise _Superseded

    async def _follow(self, attempt: Attempt, state: AttemptState, ingest: Ingest) -> AttemptState:
        while state is AttemptState.RUNNING:
            await ingest.catch_up()
            pause = _until_next_ingest() if ingest.has_started else START_POLL_SECONDS
            with anyio.move_on_after(pause):
                state = await self._executor(attempt).wait(attempt.id)
        # Also if it looks NEW: the journal knows better if the stage has replaced its lock.
        await ingest.catch_up(to_the_end=state is not AttemptState.NEW)
        return state

    async def _conclude(self, attempt: Attempt, state: AttemptState, metrics: MetricReader) -> None:
        if state is AttemptState.DONE:
            outcome = with_unreadable_lines(await self._outcome(attempt), metrics.unreadable_lines)
        else:
            killed = await self._executor(attempt).sweep(attempt.id)
            tail = await log_tail(self._executor(attempt), attempt.id)
            outcome = AttemptOutcome(FinishReason.LOST, log_tail=tail, evidence={"processesSwept": killed})
        if outcome.succeeded:
            await self._publish(attempt, outcome, metrics)
        else:
            await self._report_failure(attempt, outcome)

    async def _outcome(self, attempt: Attempt) -> AttemptOutcome:
        executor = self._executor(attempt)
        return outcome_of(await executor.result(attempt.id), await log_tail(executor, attempt.id))

    async def _publish(self, attempt: Attempt, outcome: AttemptOutcome, metrics: MetricReader) -> None:
        if not await attempt_reports.stage_collecting(self.engine, self.notifier, attempt.key):
            await self._check_current(attempt)  # or an earlier try has reported it
        try:
            outputs = await collect_outputs(
                self._executor(attempt), attempt.id, self.store, self.limits.outputs
            )
        except (OutputRefused, InvalidInput) as refusal:
            refused = replace(outcome, reason=FinishReason.OUTPUT_REFUSED, error=refusal.message)
            await self._report_failure(attempt, refused)
            return
        if has_cache(attempt):
            await self._cache.confirm(attempt)
        last_points = {name: point.value for name, point in metrics.last_points.items()}
        outputs = replace(outputs, last_points=last_points)
        await attempt_reports.complete_stage(self.engine, self.notifier, attempt.key, outcome, outputs)

    async def _report_failure(self, attempt: Attempt, outcome: AttemptOutcome) -> None:
        log = await collect_log(self._executor(attempt), attempt.id, self.store)
        await self._fail(attempt, outcome, log)

    async def _fail(self, attempt: Attempt, outcome: AttemptOutcome, outputs: StageOutputs) -> None:
        await attempt_reports.attempt_failed(self.engine, self.notifier, attempt.key, outcome, outputs)

    async def _give_up(self, attempt: Attempt, error: Exception) -> None:
        """Ends an attempt that the server can't handle, so that it does not keep its slot."""
        await self._end(attempt.id)
        started = attempt.phase is not Phase.CLAIMED
        reason = FinishReason.OUTPUT_REFUSED if started else FinishReason.START_FAILED
        outcome = AttemptOutcome(reason, error=_public_text(error))
        await self._fail(attempt, outcome, StageOutputs())
        await self._forget(attempt.id)


def _until_next_ingest() -> float:
    """Seconds. All attempts are read at the same moments, so that their reports share transactions."""
    return INGEST_INTERVAL_SECONDS - anyio.current_time() % INGEST_ALIGNMENT_SECONDS


def _is_temporary(error: Exception) -> bool:
    """Whether waiting helps: the database or the store can't be reached at present, or a disk is full."""
    return is_outage(error) or _can_not_store(error)


def _can_not_store(error: Exception) -> bool:
    return isinstance(error, StorageUnavailable) or is_full(error)


def _public_text(error: Exception) -> str:
    if isinstance(error, StorageError | OSError | UnknownExecutor):
        return str(error)
    error_id = uuid.uuid4().hex[:12]
    logger.error("error id %s stands for: %r", error_id, error)
    return f"the server failed to handle the attempt (error id {error_id} in its log)"
