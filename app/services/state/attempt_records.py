"""The record of one attempt: its row, and the columns of its stage run that come from the last attempt."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.database.tables import stage_attempts, stage_runs
from app.domain.outcomes import AttemptOutcome, last_lines
from app.domain.text import clean_json, clean_text
from app.domain.units import BYTES_PER_MB
from app.services.state.run_transaction import RunTransaction


async def update_attempt(transaction: RunTransaction, stage: sa.Row[Any], **values: Any) -> None:
    """Changes columns of the stage run's current attempt."""
    await transaction.connection.execute(
        sa.update(stage_attempts)
        .where(stage_attempts.c.stage_run_id == stage.id, stage_attempts.c.attempt == stage.attempt_number)
        .values(**values)
    )


async def close_attempt(
    transaction: RunTransaction, stage: sa.Row[Any], outcome: AttemptOutcome, message: str | None
) -> None:
    """Stores how the attempt ended; ``message`` tells people what went wrong."""
    start = outcome.started_at
    await update_attempt(
        transaction,
        stage,
        # An outcome without a start is that of a lost attempt: its start, if any, was recorded before.
        **({} if start is None else {"started_at": start}),
        finished_at=outcome.finished_at or sa.func.clock_timestamp(),
        finish_reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        error_message=message,
        peak_memory_bytes=outcome.peak_memory_bytes,
        peak_cpu_percent=outcome.peak_cpu_percent,
        cpu_seconds=outcome.cpu_seconds,
        wall_seconds=outcome.wall_seconds,
        log_bytes=outcome.log_bytes,
        log_dropped_bytes=outcome.log_dropped_bytes,
        log_tail=None if outcome.log_tail is None else "\n".join(last_lines(clean_text(outcome.log_tail))),
        evidence=clean_json(dict(outcome.evidence)) or None,
    )
    transaction.note_peaks(outcome.peak_memory_bytes, outcome.peak_cpu_percent)


def figures(outcome: AttemptOutcome) -> dict[str, Any]:
    """The columns of a stage run that come from its last attempt, and its first start."""
    seconds, cpu, start = outcome.wall_seconds, outcome.cpu_seconds, outcome.started_at
    return {
        **({} if start is None else {"started_at": first_start(start)}),
        "execution_time": seconds,
        "memory_usage": None
        if outcome.peak_memory_bytes is None
        else outcome.peak_memory_bytes / BYTES_PER_MB,
        "cpu_usage": 100 * cpu / seconds if cpu is not None and seconds else None,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "logs": None if outcome.log_tail is None else clean_text(outcome.log_tail),
    }


def first_start(at: datetime) -> sa.ColumnElement[datetime]:
    """The stage run's ``started_at``: later attempts do not change it."""
    return sa.func.coalesce(stage_runs.c.started_at, at)
