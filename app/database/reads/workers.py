"""Statements of the graph about workers and the whole installation."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from app.database.reads.selections import WORKERS
from app.database.tables import pipeline_runs, stage_runs, workers
from app.domain.moves import ACTIVE_PHASES
from app.domain.vocabulary import RunStatus


@cache
def capacity() -> sa.Select[Any]:
    """(live workers, active stage runs, running runs) of the whole installation."""
    running = sa.select(sa.func.count()).where(pipeline_runs.c.status == RunStatus.RUNNING)
    return sa.select(
        sa.select(sa.func.count()).where(workers.c.lease_until > sa.func.now()).scalar_subquery(),
        sa.select(sa.func.count()).where(stage_runs.c.phase.in_(ACTIVE_PHASES)).scalar_subquery(),
        running.scalar_subquery(),
    )


@cache
def workers_with_load() -> sa.Select[Any]:
    """(number of its active stage runs, whether its lease is live, row...) of each worker."""
    load = (
        sa.select(sa.func.count())
        .where(stage_runs.c.worker_id == workers.c.id, stage_runs.c.phase.in_(ACTIVE_PHASES))
        .scalar_subquery()
    )
    alive = workers.c.lease_until > sa.func.now()
    return sa.select(load, alive, *WORKERS.columns).order_by(workers.c.lease_until.desc(), workers.c.id)
