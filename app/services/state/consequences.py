"""What follows in the same transaction when a stage run ends: dependents get ready or are SKIPPED, the run may end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from app.database.tables import pipeline_runs, stage_runs
from app.domain import messages
from app.domain.events import ENGINE, EventKind
from app.domain.moves import ACTIVE_PHASES, RUN_ACTIVE
from app.domain.outcomes import cause_of_run_end
from app.domain.plan import downstream, outcome
from app.domain.text import clean_text
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.services.state.results import results_by_stage
from app.services.state.run_transaction import STAGE_COLUMNS, RunTransaction

WAITING = (Phase.BLOCKED, Phase.READY)


async def finish_stage(
    transaction: RunTransaction,
    stage: sa.Row[Any],
    status: StageStatus,
    *,
    actor: str,
    cause: str,
    finish_reason: FinishReason,
    error_message: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """Any phase -> final, with all consequences."""
    message = None if error_message is None else clean_text(error_message)
    completed_at = sa.func.clock_timestamp()
    await transaction.move_stage(
        stage,
        Phase.FINAL,
        status=status,
        finish_reason=finish_reason,
        error_message=message,
        completed_at=completed_at,
        **values,
    )
    transaction.record(
        EventKind.STAGE_FINISHED,
        stage.id,
        status=status,
        previousStatus=stage.status,
        attempt=stage.attempt_number,
        actor=actor,
        cause=cause,
        evidence=dict(evidence or {}) or None,
        finishReason=finish_reason,
        exitCode=values.get("exit_code"),
        signal=values.get("signal"),
        errorMessage=message,
        reusedFromId=_text(values.get("reused_from_id")),
    )
    transaction.count_final(status)
    await _apply_consequences(transaction, stage, status)


def _text(stage_run_id: uuid.UUID | None) -> str | None:
    return None if stage_run_id is None else str(stage_run_id)


async def _apply_consequences(transaction: RunTransaction, stage: sa.Row[Any], status: StageStatus) -> None:
    if status is StageStatus.COMPLETED or (status is StageStatus.FAILED and stage.allow_failure):
        await _ready_dependents(transaction, stage)
    else:
        await _skip_downstream(transaction, stage, status)
        if status is StageStatus.FAILED and transaction.run.fail_fast:
            await stop_stages(transaction, FinishReason.CANCELLED, messages.stopped_fail_fast(stage.name))
    await resolve_run(transaction)


async def _ready_dependents(transaction: RunTransaction, stage: sa.Row[Any]) -> None:
    """blocked -> ready for dependents that wait for no other stage."""
    last = stage_runs.c.waiting_for == 1
    statement = (
        sa.update(stage_runs)
        .where(
            stage_runs.c.pipeline_run_id == transaction.run.id,
            stage_runs.c.phase == Phase.BLOCKED,
            sa.literal(stage.id) == sa.any_(stage_runs.c.depends_on),
        )
        .values(
            waiting_for=stage_runs.c.waiting_for - 1,
            phase=sa.case((last, Phase.READY.value), else_=Phase.BLOCKED.value),
        )
        .returning(stage_runs.c.id, stage_runs.c.phase)
    )
    for row in await transaction.connection.execute(statement):
        if row.phase is Phase.READY:
            transaction.record(
                EventKind.STAGE_READIED,
                row.id,
                status=StageStatus.PENDING,
                previousStatus=StageStatus.PENDING,
                cause=f"stage {stage.name!r} is done, the last one it waited for",
            )


async def _skip_downstream(transaction: RunTransaction, stage: sa.Row[Any], status: StageStatus) -> None:
    columns = (stage_runs.c.id, stage_runs.c.depends_on)
    statement = sa.select(*columns).where(stage_runs.c.pipeline_run_id == transaction.run.id)
    rows = await transaction.connection.execute(statement)
    below = downstream(stage.id, {row.id: row.depends_on for row in rows})
    if below:
        await _finish_waiting(
            transaction,
            StageStatus.SKIPPED,
            FinishReason.UPSTREAM_FAILED,
            messages.upstream_failed(stage.name, status),
            only=below,
        )


async def _finish_waiting(
    transaction: RunTransaction,
    status: StageStatus,
    reason: FinishReason,
    message: str,
    *,
    actor: str = ENGINE,
    only: Sequence[uuid.UUID] | None = None,
    **values: Any,
) -> None:
    """blocked or ready -> final, for all stage runs that have not begun or ``only`` for these."""
    statement = (
        sa.update(stage_runs)
        .where(stage_runs.c.pipeline_run_id == transaction.run.id, stage_runs.c.phase.in_(WAITING))
        .values(
            phase=Phase.FINAL,
            status=status,
            finish_reason=reason,
            error_message=message,
            completed_at=sa.func.clock_timestamp(),
            **values,
        )
        .returning(stage_runs.c.id, stage_runs.c.attempt_number, stage_runs.c.position)
    )
    if only is not None:
        statement = statement.where(stage_runs.c.id == sa.any_(sa.literal(list(only), sa.ARRAY(sa.Uuid))))
    rows = sorted(await transaction.connection.execute(statement), key=lambda row: row.position)
    for row in rows:
        transaction.record(
            EventKind.STAGE_FINISHED,
            row.id,
            status=status,
            previousStatus=StageStatus.PENDING,
            attempt=row.attempt_number,
            actor=actor,
            cause=message,
            finishReason=reason,
            errorMessage=message,
        )
        transaction.count_final(status)
    transaction.touch(*(row.id for row in rows))


async def stop_stages(
    transaction: RunTransaction, reason: FinishReason, cause: str, *, actor: str = ENGINE
) -> None:
    """Ends stage runs that have not begun and requests the stop of active ones, which their workers carry out.

    An attempt whose process has succeeded is still collected; but it is not tried again and waits for no disk space.
    """
    request: dict[str, Any] = {
        "stop_requested_at": sa.func.now(),
        "stop_reason": reason,
        "stop_actor": actor,
        "stop_cause": cause,
    }
    await _finish_waiting(transaction, StageStatus.CANCELLED, reason, cause, actor=actor, **request)
    statement = (
        sa.update(stage_runs)
        .where(
            stage_runs.c.pipeline_run_id == transaction.run.id,
            stage_runs.c.phase.in_(ACTIVE_PHASES),
            stage_runs.c.stop_requested_at.is_(None),
        )
        .values(request)
        .returning(*STAGE_COLUMNS)
    )
    for row in await transaction.connection.execute(statement):
        transaction.record(
            EventKind.STAGE_STOP_REQUESTED,
            row.id,
            status=row.status,
            previousStatus=row.status,
            attempt=row.attempt_number,
            actor=actor,
            cause=cause,
            finishReason=reason,
        )
    await resolve_run(transaction)


async def resolve_run(transaction: RunTransaction) -> None:
    """Ends the run when its last stage run has ended; the run's status is a function of theirs."""
    if transaction.open_stage_count or transaction.pending("status") not in RUN_ACTIVE:
        return
    columns: list[sa.Column[Any]] = [
        stage_runs.c.status,
        stage_runs.c.allow_failure,
        stage_runs.c.name,
        stage_runs.c.error_message,
        stage_runs.c.finish_reason,
    ]
    statement = (
        sa.select(*columns)
        .where(stage_runs.c.pipeline_run_id == transaction.run.id)
        .order_by(stage_runs.c.completed_at)
    )
    stages = (await transaction.connection.execute(statement)).all()
    cancelled = transaction.pending("cancel_requested_at") is not None
    reason = transaction.pending("finish_reason")
    status = outcome([(row[0], row[1]) for row in stages], cancelled=cancelled, stopped_by=reason)
    failed = (row for row in stages if row.status is StageStatus.FAILED and not row.allow_failure)
    first = next(failed, None)
    message = None if first is None else f"stage {first.name!r} failed: {first.error_message}"
    await _finish_run(
        transaction, status, reason or (None if first is None else first.finish_reason), message
    )


async def _finish_run(
    transaction: RunTransaction, status: RunStatus, reason: FinishReason | None, message: str | None
) -> None:
    if reason is None:
        reason = FinishReason.CANCELLED if status is RunStatus.CANCELLED else FinishReason.EXITED
    message = transaction.pending("error_message") or message
    now = sa.func.clock_timestamp()
    seconds = sa.extract("epoch", now - pipeline_runs.c.started_at)
    previous = transaction.run.status
    transaction.move_run(
        status,
        completed_at=now,
        execution_time=seconds,
        error_message=message,
        finish_reason=reason,
        output_data=results_by_stage(transaction.run.id),
    )
    transaction.record(
        EventKind.RUN_FINISHED,
        status=status,
        previousStatus=previous,
        cause=cause_of_run_end(
            status, message, cancelled=transaction.pending("cancel_requested_at") is not None
        ),
        finishReason=reason,
        errorMessage=message,
    )
