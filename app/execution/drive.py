"""Takes one attempt from its claim to its end: launch, follow, collect, report. Safe to begin anew at any point."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from functools import cached_property

import anyio
from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import without_transactions
from app.database.outages import is_outage
from app.database.reads.attempts import Attempt, active_attempt
from app.domain.outcomes import UNREADABLE_LINES, AttemptOutcome
from app.domain.vocabulary import FinishReason, Phase
from app.errors import InvalidInput, NotFound
from app.execution.adopt import end_processes
from app.execution.caching import StageCache, has_cache
from app.execution.collect import collect_log, collect_outputs, log_tail
from app.execution.declared_files import FilesUnreadable
from app.execution.executors.base import AttemptResult, AttemptState, Executor
from app.execution.ingest import Ingest, instant
from app.execution.launch import AttemptLimits, prepare_attempt
from app.execution.metric_file import MetricFile
from app.execution.reports import ReportWriter
from app.notifications.notifier import Notifier
from app.runner.outputs import OutputRefused
from app.services.state import attempt_reports
from app.services.state.outputs import StageOutputs
from app.storage.base import StorageError, StorageUnavailable
from app.storage.files import is_full
from app.storage.local import LocalStore
from app.telemetry import bind_log_ids

logger = logging.getLogger(__name__)

INGEST_INTERVAL_SECONDS = 1.0
LOOKS_TOGETHER_SECONDS = 0.25
START_POLL_SECONDS = 0.02
RECONNECT_SECONDS = 1.0
STORE_POLL_SECONDS = 5.0
STARTS_LIMIT = 3
POISON_LIMIT = 3


class _Superseded(Exception):
    """The attempt no longer counts: it was given up while this host was cut off, or its run is gone."""


@dataclass(frozen=True)
class AttemptDriver:
    """What is needed to drive attempts on this host."""

    engine: AsyncEngine
    notifier: Notifier
    executor: Executor
    store: LocalStore
    limits: AttemptLimits

    async def drive(self, attempt_id: str) -> None:
        """Returns when the attempt is over and reported; outages and full disks are waited out, however long."""
        failures: list[Exception] = []
        waits_to_store = False
        while True:
            try:
                attempt = await self._in_hand(attempt_id)
                if attempt is None:
                    await self._abandon(attempt_id)
                elif waits_to_store and attempt.is_asked_to_stop and not await self._runs(attempt):
                    # Nobody needs the end of an attempt that runs no more, or not yet.
                    await self._end_unfinished(attempt)
                elif len(failures) < POISON_LIMIT:
                    await self._drive(attempt)
                else:
                    await self._quarantine(attempt, failures[-1])
                return
            except Exception as error:
                if _can_not_store(error) and not waits_to_store:
                    lack = "room on the disk" if is_full(error) else "the store"
                    logger.warning("attempt %s waits for %s: %s", attempt_id, lack, error)
                waits_to_store = _can_not_store(error)
                if not _will_pass(error):
                    failures.append(error)
                    logger.exception("attempt %s: unexpected failure %d", attempt_id, len(failures))
                await anyio.sleep(STORE_POLL_SECONDS if waits_to_store else RECONNECT_SECONDS)

    async def _in_hand(self, attempt_id: str) -> Attempt | None:
        """Read anew at each beginning: others may have stopped it, and some of its reports may be stored."""
        async with self._reads.connect() as connection:
            attempt = await active_attempt(connection, attempt_id)
        if attempt is not None:
            bind_log_ids(**attempt.key.log_ids)
        return attempt

    async def _abandon(self, attempt_id: str) -> None:
        logger.warning("attempt %s is not current any more; nothing of it is published", attempt_id)
        await end_processes(self.executor, attempt_id)
        await self._forget(attempt_id)

    async def _forget(self, attempt_id: str) -> None:
        """The attempt is over, whatever its folder is like: one that can't be removed keeps nothing waiting."""
        try:
            await self.executor.forget(attempt_id)
        except (OSError, ValueError) as error:
            logger.warning("the folder of attempt %s stays; the janitor tries again: %s", attempt_id, error)

    async def _runs(self, attempt: Attempt) -> bool:
        return await self.executor.state(attempt.id) is AttemptState.RUNNING

    async def _end_unfinished(self, attempt: Attempt) -> None:
        """A cancel reaches an attempt that waits for the store; on a full disk, its files make room."""
        await end_processes(self.executor, attempt.id)
        outcome = AttemptOutcome(FinishReason.CANCELLED)
        if await self.executor.state(attempt.id) is AttemptState.DONE:
            outcome = replace(await self._outcome(attempt), reason=FinishReason.CANCELLED)
        await self._fail(attempt, outcome, StageOutputs())
        await self._forget(attempt.id)

    async def _drive(self, attempt: Attempt) -> None:
        try:
            if not await self._is_spared(attempt):
                ingest = Ingest(self.engine, self.notifier, self.executor, self._reports, attempt)
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

    async def _is_spared(self, attempt: Attempt) -> bool:
        """Whether the stage run has ended before the attempt got a process."""
        if not has_cache(attempt) or await self.executor.state(attempt.id) is not AttemptState.NEW:
            return False
        try:
            return await self._cache.stands_in(attempt)
        except FilesUnreadable as refusal:
            outcome = AttemptOutcome(FinishReason.START_FAILED, error=refusal.message)
            await self._fail(attempt, outcome, StageOutputs())
            return True

    async def _run(self, attempt: Attempt, ingest: Ingest) -> AttemptState:
        """Starts the attempt unless it runs or ran already, and follows it to the end of its process."""
        state = await self.executor.state(attempt.id)
        if state is AttemptState.NEW and attempt.phase is not Phase.CLAIMED:
            return AttemptState.LOST  # its folder is gone
        for _ in range(STARTS_LIMIT):
            if state is AttemptState.NEW:
                state = await self._launch(attempt)
            state = await self._follow(attempt, state, ingest)
            if state is not AttemptState.NEW:
                return state
            if ingest.has_started:
                break  # a stage that replaced its lock looks as if nothing had been started
        return AttemptState.LOST

    async def _launch(self, attempt: Attempt) -> AttemptState:
        spec = await prepare_attempt(self._reads, self.executor, self.store, attempt, self.limits)
        if attempt.is_asked_to_stop:
            await self.executor.cancel(attempt.id)
        await self._check_current(attempt)
        return await self.executor.launch(spec)

    async def _check_current(self, attempt: Attempt) -> None:
        """Before anything that only a current attempt may do: this process may have been stopped for long."""
        if await self._in_hand(attempt.id) is None:
            raise _Superseded

    async def _follow(self, attempt: Attempt, state: AttemptState, ingest: Ingest) -> AttemptState:
        while state is AttemptState.RUNNING:
            await ingest.catch_up()
            pause = _until_next_look() if ingest.has_started else START_POLL_SECONDS
            with anyio.move_on_after(pause):
                state = await self.executor.wait(attempt.id)
        if state is not AttemptState.NEW:
            await ingest.catch_up(to_the_end=True)
        return state

    async def _conclude(self, attempt: Attempt, state: AttemptState, metrics: MetricFile) -> None:
        if state is AttemptState.DONE:
            outcome = _with_unreadable_lines(await self._outcome(attempt), metrics.unreadable_lines)
        else:
            killed = await self.executor.sweep(attempt.id)
            tail = await self._log_tail(attempt)
            outcome = AttemptOutcome(FinishReason.LOST, log_tail=tail, evidence={"processesSwept": killed})
        if outcome.succeeded:
            await self._publish(attempt, outcome, metrics)
        else:
            await self._report_failure(attempt, outcome)

    async def _outcome(self, attempt: Attempt) -> AttemptOutcome:
        return _outcome_of(await self.executor.result(attempt.id), await self._log_tail(attempt))

    async def _log_tail(self, attempt: Attempt) -> str | None:
        return await to_thread.run_sync(log_tail, self.executor.folder(attempt.id))

    async def _publish(self, attempt: Attempt, outcome: AttemptOutcome, metrics: MetricFile) -> None:
        if not await attempt_reports.stage_collecting(self.engine, self.notifier, attempt.key):
            await self._check_current(attempt)  # it may also have come this far before
        try:
            outputs = await collect_outputs(self.executor.folder(attempt.id), self.store, self.limits)
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
        log = await collect_log(self.executor.folder(attempt.id), self.store)
        await self._fail(attempt, outcome, log)

    async def _fail(self, attempt: Attempt, outcome: AttemptOutcome, outputs: StageOutputs) -> None:
        await attempt_reports.attempt_failed(self.engine, self.notifier, attempt.key, outcome, outputs)

    async def _quarantine(self, attempt: Attempt, error: Exception) -> None:
        """One attempt that the server can't handle must not keep its slot: it ends with what is known."""
        await end_processes(self.executor, attempt.id)
        started = attempt.phase is not Phase.CLAIMED
        reason = FinishReason.OUTPUT_REFUSED if started else FinishReason.START_FAILED
        outcome = AttemptOutcome(reason, error=_public_text(error))
        await self._fail(attempt, outcome, StageOutputs())
        await self._forget(attempt.id)


def _until_next_look() -> float:
    """Seconds, so that many attempts are looked at together: what they report is then stored together, too."""
    return INGEST_INTERVAL_SECONDS - anyio.current_time() % LOOKS_TOGETHER_SECONDS


def _will_pass(error: Exception) -> bool:
    """Whether waiting helps: the database or the store can't be reached, or a disk is full, at the moment."""
    return is_outage(error) or _can_not_store(error)


def _can_not_store(error: Exception) -> bool:
    return isinstance(error, StorageUnavailable) or is_full(error)


def _public_text(error: Exception) -> str:
    if isinstance(error, StorageError | OSError):
        return str(error)
    error_id = uuid.uuid4().hex[:12]
    logger.error("error id %s stands for: %r", error_id, error)
    return f"the server failed to handle the attempt (error id {error_id} in its log)"


def _with_unreadable_lines(outcome: AttemptOutcome, count: int) -> AttemptOutcome:
    """Lines of its metrics that say nothing we understand are no failure, but nobody should have to guess."""
    return replace(outcome, evidence={**outcome.evidence, UNREADABLE_LINES: count}) if count else outcome


def _outcome_of(result: AttemptResult, tail: str | None) -> AttemptOutcome:
    if result.finish_reason is FinishReason.START_FAILED:
        return AttemptOutcome(result.finish_reason, error=result.error)
    return AttemptOutcome(
        reason=result.finish_reason,
        exit_code=result.exit_code,
        signal=result.signal,
        error=result.error,
        started_at=instant(result.started_at),
        finished_at=instant(result.finished_at),
        wall_seconds=result.wall_seconds,
        cpu_seconds=result.cpu_seconds,
        peak_memory_bytes=result.peak_memory_bytes or None,
        peak_cpu_percent=result.peak_cpu_percent,
        log_bytes=result.log_bytes,
        log_dropped_bytes=result.log_dropped_bytes,
        log_tail=tail,
        evidence={
            "oomKillsHost": result.oom_kills_host,
            "oomKillsCgroup": result.oom_kills_cgroup,
            "stragglersKilled": result.stragglers_killed,
            "stragglerNames": list(result.straggler_names),
            "peakProcessCount": result.peak_process_count,
        },
    )
