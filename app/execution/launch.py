"""Turns a claimed attempt into the specification that its executor runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.attempts import Attempt, inputs_of
from app.execution.environment import stage_variables
from app.execution.executors.base import AttemptSpec, OutputLimits


@dataclass(frozen=True)
class AttemptLimits:
    """Limits of every attempt of this worker."""

    grace_seconds: float
    """Between SIGTERM and SIGKILL."""
    log_limit_bytes: int
    outputs: OutputLimits


async def specify_attempt(reads: AsyncEngine, attempt: Attempt, limits: AttemptLimits) -> AttemptSpec:
    """What to run, with which inputs and within which limits."""
    async with reads.connect() as connection:
        inputs = await inputs_of(connection, attempt.depends_on)
    config = replace(
        attempt.config, env=stage_variables(attempt), timeout_seconds=_time_left_seconds(attempt)
    )
    return AttemptSpec(
        attempt_id=attempt.id,
        config=config,
        inputs=inputs,
        grace_seconds=limits.grace_seconds,
        log_limit_bytes=limits.log_limit_bytes,
    )


def _time_left_seconds(attempt: Attempt) -> float | None:
    """The stage's own limit or the rest of the run's, whichever is shorter: both hold while the server is down."""
    own = attempt.config.timeout_seconds
    limits = [own] if own else []
    if attempt.seconds_to_deadline is not None:
        limits.append(max(0.1, attempt.seconds_to_deadline))
    return min(limits, default=None)
