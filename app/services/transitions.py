"""The door for status changes, together with ``services.claiming``: every move is made with its event.

Each function is one transaction. It answers False (or None) when the row has already moved on, because somebody
else was faster or the report is of an old attempt: the caller then drops the work.
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.claims import ACTIVE_PHASES, is_overdue
from app.database.models import pipeline_runs, stage_attempts, stage_runs
from app.domain.attempts import AttemptKey
from app.domain.events import EventKind
from app.domain.outcomes import AttemptOutcome, explain
from app.domain.retry import LOST_LIMIT
from app.domain.specs import retry_from_json
from app.domain.statuses import RUN_FINAL, FinishReason, Phase, RunStatus, StageStatus
from app.domain.text import clean_json, clean_text
from app.services import settling
from app.services.artifacts import StageOutputs, publish_outputs
from app.services.run_change import Publisher, RunChange, changing


async def adopt_attempt(
    engine: AsyncEngine,
    hints: Publisher,
    key: AttemptKey,
    worker_id: uuid.UUID,
) -> bool:
    """Another worker of the same host takes over an attempt; its status stays what it is."""
    async with changing(engine, hints, key.run_id) as change:
        if await change.stage(key.stage_run_id, key.number, ACTIVE_PHASES) is None:
            return False
        mine = {"worker_id": worker_id}
        attempts = stage_attempts.c
        where = (attempts.stage_run_id == key.stage_run_id, attempts.attempt == key.number)
        await change.connection.execute(
            sa.update(stage_runs).where(stage_runs.c.id == key.stage_run_id).values(mine)
        )
        await change.connection.execute(sa.update(stage_attempts).where(*where).values(mine))
        return True


async def stage_started(engine: AsyncEngine, hints: Publisher, key: AttemptKey, at: datetime) -> bool:
    """claimed -> running: the process exists since ``at``."""
    async with changing(engine, hints, key.run_id) as change:
        stage = await change.stage(key.stage_run_id, key.number, (Phase.CLAIMED,))
        if stage is None:
            return False
        await change.move_stage(stage, Phase.RUNNING, started_at=at)
        await _update_attempt(change, stage, started_at=at)
        change.record(
            EventKind.STAGE_STARTED,
            key.stage_run_id,
            status=StageStatus.RUNNING,
            previousStatus=stage.status,
            attempt=key.number,
        )
        return True


async def stage_collecting(engine: AsyncEngine, hints: Publisher, key: AttemptKey) -> bool:
    """claimed/running -> collecting: the process ended well, its outputs are being stored."""
    async with changing(engine, hints, key.run_id) as change:
        stage = await change.stage(key.stage_run_id, key.number, (Phase.CLAIMED, Phase.RUNNING))
        if stage is None:
            return False
        await change.move_stage(stage, Phase.COLLECTING)
        change.record(
            EventKind.STAGE_COLLECTING,
            key.stage_run_id,
            status=StageStatus.RUNNING,
            previousStatus=stage.status,
            attempt=key.number,
        )
        return True


async def complete_stage(
    engine: AsyncEngine,
    hints: Publisher,
    key: AttemptKey,
    outcome: AttemptOutcome,
    outputs: StageOutputs,
) -> bool:
    """collecting -> COMPLETED with all artifacts visible at once; readies the dependents."""
    async with changing(engine, hints, key.run_id) as change:
        stage = await change.stage(key.stage_run_id, key.number, (Phase.COLLECTING,))
        if stage is None:
            return False
        await publish_outputs(change, stage, outputs)
        await _close_attempt(change, stage, outcome, None)
        await settling.finish_stage(
            change,
            stage,
            StageStatus.COMPLETED,
            cause="the command exited with code 0",
            finish_reason=outcome.reason,
            metrics=outputs.metrics or None,
            output_data=outputs.output_data,
            **_figures(outcome),
        )
        return True


async def attempt_failed(
    engine: AsyncEngine,
    hints: Publisher,
    key: AttemptKey,
    outcome: AttemptOutcome,
    outputs: StageOutputs,
) -> bool:
    """The attempt did not succeed: the stage run is tried again, or ends FAILED or CANCELLED.

    ``outputs`` of a failed attempt hold its log only.
    """
    async with changing(engine, hints, key.run_id) as change:
        stage = await change.stage(key.stage_run_id, key.number, ACTIVE_PHASES)
        if stage is None:
            return False
        await fail_attempt(change, stage, outcome, outputs)
        return True


async def fail_attempt(
    change: RunChange,
    stage: sa.Row[Any],
    outcome: AttemptOutcome,
    outputs: StageOutputs,
    *,
    actor: str | None = None,
) -> None:
    """``attempt_failed`` within a transaction of the caller's; ``actor`` is who says so, if not the runner."""
    message = _message(outcome, stage)
    await publish_outputs(change, stage, outputs)
    await _close_attempt(change, stage, outcome, message)
    if _was_stopped(change, stage, outcome):
        await _finish_stopped(change, stage, outcome)
    elif (wait := _retry_wait_seconds(change, stage, outcome)) is not None:
        await _schedule_retry(change, stage, outcome, message, wait, actor)
    else:
        reason = FinishReason.LOST if outcome.reason is FinishReason.CANCELLED else outcome.reason
        await settling.finish_stage(
            change,
            stage,
            StageStatus.FAILED,
            actor=actor,
            cause=message,
            error_message=message,
            finish_reason=reason,
            **_figures(outcome),
        )


def _message(outcome: AttemptOutcome, stage: sa.Row[Any]) -> str | None:
    text = explain(outcome, stage.spec.get("timeoutSeconds"))
    return None if text is None else clean_text(text)


def _was_stopped(change: RunChange, stage: sa.Row[Any], outcome: AttemptOutcome) -> bool:
    asked = stage.stop_requested_at is not None or change.run.cancel_requested_at is not None
    return asked and outcome.reason in (FinishReason.CANCELLED, FinishReason.LOST)


async def _finish_stopped(change: RunChange, stage: sa.Row[Any], outcome: AttemptOutcome) -> None:
    timed_out = stage.stop_reason is FinishReason.TIMED_OUT
    reason = FinishReason.TIMED_OUT if timed_out else FinishReason.CANCELLED
    message = "the run reached its time limit" if timed_out else "the stage was cancelled"
    if outcome.error:
        message = f"{message}; {outcome.error}"
    await settling.finish_stage(
        change,
        stage,
        StageStatus.FAILED if timed_out else StageStatus.CANCELLED,
        cause=message,
        error_message=message,
        finish_reason=reason,
        **_figures(outcome),
    )


def _retry_wait_seconds(change: RunChange, stage: sa.Row[Any], outcome: AttemptOutcome) -> float | None:
    """Seconds until the next attempt, or None when there is none.

    CANCELLED without anybody having asked means that the runner was told to stop from outside (a host that shuts
    down): that is a lost attempt, not the user's cancel.
    """
    stopping = change.run.finish_reason is not None or change.run.cancel_requested_at is not None
    if stopping or stage.stop_requested_at is not None:
        return None
    if outcome.reason in (FinishReason.LOST, FinishReason.CANCELLED):
        return 0.0 if stage.lost_count < LOST_LIMIT else None
    policy = retry_from_json(stage.spec["retries"])
    failures = stage.attempt_number - stage.lost_count
    return policy.wait_seconds(failures, random.random()) if policy.allows(outcome.reason, failures) else None


async def _schedule_retry(
    change: RunChange,
    stage: sa.Row[Any],
    outcome: AttemptOutcome,
    message: str | None,
    wait_seconds: float,
    actor: str | None,
) -> None:
    lost = outcome.reason in (FinishReason.LOST, FinishReason.CANCELLED)
    await change.move_stage(
        stage,
        Phase.READY,
        not_before=sa.func.now() + timedelta(seconds=wait_seconds),
        lost_count=stage.lost_count + int(lost),
        error_message=message,
        worker_id=None,
        started_at=None,
    )
    change.record(
        EventKind.STAGE_RETRY_SCHEDULED,
        stage.id,
        status=StageStatus.PENDING,
        previousStatus=stage.status,
        attempt=stage.attempt_number,
        actor=actor,
        cause=message,
        evidence=dict(outcome.evidence) or None,
        finishReason=outcome.reason,
        exitCode=outcome.exit_code,
        signal=outcome.signal,
        errorMessage=message,
        waitSeconds=round(wait_seconds, 3),
    )


def _figures(outcome: AttemptOutcome) -> dict[str, Any]:
    """The columns of a stage run that come from its last attempt."""
    seconds, cpu = outcome.wall_seconds, outcome.cpu_seconds
    return {
        **_start_time(outcome),
        "execution_time": seconds,
        "memory_usage": None if outcome.peak_memory_bytes is None else outcome.peak_memory_bytes / 2**20,
        "cpu_usage": 100 * cpu / seconds if cpu is not None and seconds else None,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "logs": None if outcome.log_tail is None else clean_text(outcome.log_tail),
    }


def _start_time(outcome: AttemptOutcome) -> dict[str, Any]:
    """Nothing when the outcome does not tell: an attempt that was lost did start at the time noted then."""
    return {} if outcome.started_at is None else {"started_at": outcome.started_at}


async def _close_attempt(
    change: RunChange, stage: sa.Row[Any], outcome: AttemptOutcome, message: str | None
) -> None:
    await _update_attempt(
        change,
        stage,
        **_start_time(outcome),
        finished_at=outcome.finished_at or sa.func.clock_timestamp(),
        finish_reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        error_message=message,
        peak_memory_bytes=outcome.peak_memory_bytes,
        peak_cpu_percent=outcome.peak_cpu_percent,
        cpu_seconds=outcome.cpu_seconds,
        log_bytes=outcome.log_bytes,
        log_dropped_bytes=outcome.log_dropped_bytes,
        evidence=clean_json(dict(outcome.evidence)) or None,
    )
    change.note_peaks(outcome.peak_memory_bytes, outcome.peak_cpu_percent)


async def _update_attempt(change: RunChange, stage: sa.Row[Any], **values: Any) -> None:
    await change.connection.execute(
        sa.update(stage_attempts)
        .where(stage_attempts.c.stage_run_id == stage.id, stage_attempts.c.attempt == stage.attempt_number)
        .values(**values)
    )


async def request_cancel(
    engine: AsyncEngine, hints: Publisher, run_id: uuid.UUID, *, actor: str | None, reason: str | None
) -> bool:
    """Writes down that the run is to end; what has not begun ends now, what runs is stopped by its supervisor.

    False when the run is final already. Asking twice changes nothing.
    """
    async with changing(engine, hints, run_id) as change:
        return await cancel(change, actor=actor, reason=reason)


async def cancel(change: RunChange, *, actor: str | None, reason: str | None) -> bool:
    """``request_cancel`` within a transaction of the caller's."""
    if change.run.status in RUN_FINAL:
        return False
    if change.run.cancel_requested_at is None:
        change.set_run(cancel_requested_at=sa.func.now(), cancel_reason=reason)
        change.record(EventKind.RUN_CANCEL_REQUESTED, status=change.run.status, actor=actor, cause=reason)
        await settling.stop_stages(change, FinishReason.CANCELLED, reason or "the run was cancelled")
    return True


async def stop_overdue_run(engine: AsyncEngine, hints: Publisher, run_id: uuid.UUID) -> bool:
    """Ends a run that waited or ran longer than it may, unless its end was asked for before."""
    async with changing(engine, hints, run_id) as change:
        run = change.run
        if run.finish_reason is not None or run.cancel_requested_at is not None or run.status in RUN_FINAL:
            return False
        if run.status is RunStatus.RUNNING:
            message = f"the run reached its time limit of {run.timeout_seconds:g} s"
        elif run.queue_deadline_at is None:
            return False
        else:
            waited = (run.queue_deadline_at - run.created_at).total_seconds()
            message = f"the run waited in the queue longer than its queueTimeout of {waited:g} s"
        change.set_run(finish_reason=FinishReason.TIMED_OUT, error_message=message)
        await settling.stop_stages(change, FinishReason.TIMED_OUT, message)
        return True


async def overdue_runs(engine: AsyncEngine) -> list[uuid.UUID]:
    """Runs past a deadline that nobody has stopped yet."""
    async with engine.connect() as connection:
        return list((await connection.execute(sa.select(pipeline_runs.c.id).where(is_overdue()))).scalars())
