"""What the worker that drives an attempt reports about it, as moves of the stage run.

claimed -> running -> collecting -> COMPLETED; from any active phase back to ready (retry), or to FAILED or CANCELLED.

Each function is one transaction. It answers False when the row has already moved on, because another worker was
faster or the report is of an old attempt: the caller then drops the report.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import stage_attempts, stage_runs
from app.domain import messages
from app.domain.attempts import AttemptKey
from app.domain.events import EventKind
from app.domain.moves import ACTIVE_PHASES
from app.domain.outcomes import AttemptOutcome, cause_of_success, explain
from app.domain.retry import LOST_LIMIT
from app.domain.specs import readable_config
from app.domain.text import clean_json, clean_text
from app.domain.vocabulary import FinishReason, Phase, StageStatus
from app.notifications.notifier import Notifier
from app.services.state import consequences
from app.services.state.attempt_records import close_attempt, figures, first_start, update_attempt
from app.services.state.outputs import StageOutputs, publish_outputs
from app.services.state.run_transaction import RunTransaction, run_transaction, worker_actor


async def adopt_attempt(
    engine: AsyncEngine,
    notifier: Notifier,
    key: AttemptKey,
    worker_id: uuid.UUID,
) -> bool:
    """Another worker of the same host adopts the attempt; its phase does not change."""
    async with run_transaction(engine, notifier, key.run_id) as transaction:
        if await transaction.stage(key.stage_run_id, key.number, ACTIVE_PHASES) is None:
            return False
        mine = {"worker_id": worker_id}
        attempts = stage_attempts.c
        where = (attempts.stage_run_id == key.stage_run_id, attempts.attempt == key.number)
        await transaction.connection.execute(
            sa.update(stage_runs).where(stage_runs.c.id == key.stage_run_id).values(mine)
        )
        await transaction.connection.execute(sa.update(stage_attempts).where(*where).values(mine))
        return True


async def stage_started(
    engine: AsyncEngine, notifier: Notifier, key: AttemptKey, at: datetime, pid: int | None = None
) -> bool:
    """claimed -> running: the process exists since ``at``."""
    async with run_transaction(engine, notifier, key.run_id) as transaction:
        stage = await transaction.stage(key.stage_run_id, key.number, (Phase.CLAIMED,))
        if stage is None:
            return False
        await transaction.move_stage(stage, Phase.RUNNING, started_at=first_start(at))
        await update_attempt(transaction, stage, started_at=at)
        transaction.record(
            EventKind.STAGE_STARTED,
            key.stage_run_id,
            status=StageStatus.RUNNING,
            previousStatus=stage.status,
            attempt=key.number,
            actor=worker_actor(stage.worker_id),
            cause="its runner started the process",
            evidence=None if pid is None else {"pid": pid},
        )
        return True


async def stage_collecting(engine: AsyncEngine, notifier: Notifier, key: AttemptKey) -> bool:
    """claimed/running -> collecting: the process ended well, its outputs are being stored."""
    async with run_transaction(engine, notifier, key.run_id) as transaction:
        stage = await transaction.stage(key.stage_run_id, key.number, (Phase.CLAIMED, Phase.RUNNING))
        if stage is None:
            return False
        await transaction.move_stage(stage, Phase.COLLECTING)
        transaction.record(
            EventKind.STAGE_COLLECTING,
            key.stage_run_id,
            status=StageStatus.RUNNING,
            previousStatus=stage.status,
            attempt=key.number,
            actor=worker_actor(stage.worker_id),
            cause="the command exited with code 0",
        )
        return True


async def complete_stage(
    engine: AsyncEngine,
    notifier: Notifier,
    key: AttemptKey,
    outcome: AttemptOutcome,
    outputs: StageOutputs,
) -> bool:
    """collecting -> COMPLETED with all artifacts visible at once; readies the dependents."""
    async with run_transaction(engine, notifier, key.run_id) as transaction:
        stage = await transaction.stage(key.stage_run_id, key.number, (Phase.COLLECTING,))
        if stage is None:
            return False
        await publish_outputs(transaction, stage, outputs)
        await close_attempt(transaction, stage, outcome, None)
        await consequences.finish_stage(
            transaction,
            stage,
            StageStatus.COMPLETED,
            actor=worker_actor(stage.worker_id),
            cause=cause_of_success(was_asked_to_stop=_is_asked_to_stop(transaction, stage)),
            evidence=outcome.evidence,
            finish_reason=outcome.reason,
            metrics=clean_json({**outputs.last_points, **outputs.metrics}) or None,
            output_data=outputs.output_data,
            **figures(outcome),
        )
        return True


async def attempt_failed(
    engine: AsyncEngine,
    notifier: Notifier,
    key: AttemptKey,
    outcome: AttemptOutcome,
    outputs: StageOutputs,
) -> bool:
    """The attempt did not succeed: the stage run is tried again, or ends FAILED or CANCELLED.

    ``outputs`` of a failed attempt hold its log only.
    """
    async with run_transaction(engine, notifier, key.run_id) as transaction:
        stage = await transaction.stage(key.stage_run_id, key.number, ACTIVE_PHASES)
        if stage is None:
            return False
        await fail_attempt(transaction, stage, outcome, outputs)
        return True


async def fail_attempt(
    transaction: RunTransaction,
    stage: sa.Row[Any],
    outcome: AttemptOutcome,
    outputs: StageOutputs,
    *,
    actor: str | None = None,
) -> None:
    """``attempt_failed`` within the caller's transaction; ``actor`` reports it, by default the worker."""
    actor = actor or worker_actor(stage.worker_id)
    outcome = _in_light_of_stop_requests(transaction, stage, outcome)
    message = clean_text(explain(outcome, readable_config(stage.spec).timeout_seconds) or "")
    await publish_outputs(transaction, stage, outputs)
    await close_attempt(transaction, stage, outcome, message)
    if (wait := _retry_wait_seconds(transaction, stage, outcome)) is not None:
        await _schedule_retry(transaction, stage, outcome, message, wait, actor)
        return
    await consequences.finish_stage(
        transaction,
        stage,
        StageStatus.CANCELLED if outcome.reason is FinishReason.CANCELLED else StageStatus.FAILED,
        actor=actor,
        cause=message,
        evidence=outcome.evidence,
        error_message=message,
        finish_reason=outcome.reason,
        **figures(outcome),
    )


def _in_light_of_stop_requests(
    transaction: RunTransaction, stage: sa.Row[Any], outcome: AttemptOutcome
) -> AttemptOutcome:
    """The outcome of an attempt whose runner was stopped or died, given whether a stop was requested.

    Without a request, a stopped runner was stopped from outside (a host that shuts down): the attempt is LOST. With
    one, the reason is that of the request, unless processes may be left: then it stays LOST.
    """
    if outcome.reason not in (FinishReason.CANCELLED, FinishReason.LOST):
        return outcome
    if not _is_asked_to_stop(transaction, stage):
        is_lost = outcome.reason is FinishReason.LOST
        error = messages.runner_was_stopped()
        return outcome if is_lost else replace(outcome, reason=FinishReason.LOST, error=error)
    if not outcome.processes_are_gone:
        return replace(outcome, error=messages.end_is_unknown(outcome.error))
    cause = stage.stop_cause or messages.cancelled(
        transaction.run.cancel_actor, transaction.run.cancel_reason
    )
    return replace(outcome, reason=stage.stop_reason or FinishReason.CANCELLED, stopped_because=cause)


def _is_asked_to_stop(transaction: RunTransaction, stage: sa.Row[Any]) -> bool:
    return stage.stop_requested_at is not None or transaction.run.cancel_requested_at is not None


def _retry_wait_seconds(
    transaction: RunTransaction, stage: sa.Row[Any], outcome: AttemptOutcome
) -> float | None:
    """Seconds until the next attempt, or None when there is none."""
    stopping = transaction.run.finish_reason is not None or transaction.run.cancel_requested_at is not None
    if stopping or stage.stop_requested_at is not None:
        return None
    if outcome.reason is FinishReason.LOST:
        return 0.0 if stage.lost_count < LOST_LIMIT else None
    policy = readable_config(stage.spec).retries
    failures = stage.attempt_number - stage.lost_count
    return policy.wait_seconds(failures, random.random()) if policy.allows(outcome.reason, failures) else None


async def _schedule_retry(
    transaction: RunTransaction,
    stage: sa.Row[Any],
    outcome: AttemptOutcome,
    message: str,
    wait_seconds: float,
    actor: str,
) -> None:
    await transaction.move_stage(
        stage,
        Phase.READY,
        not_before=sa.func.now() + timedelta(seconds=wait_seconds),
        lost_count=stage.lost_count + int(outcome.reason is FinishReason.LOST),
        error_message=message,
        worker_id=None,
    )
    transaction.record(
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
