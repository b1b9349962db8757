"""Statements of the graph about runs, for many runs at once."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from app.database.reads.selections import CACHED_STATEMENTS, Selection, key_array
from app.database.tables import pipeline_runs, stage_runs
from app.domain.moves import RUN_ACTIVE
from app.domain.vocabulary import RunStatus


@cache
def run_definitions() -> sa.Select[Any]:
    """(run, the definition it executes). Definitions are large: selected only if requested."""
    return sa.select(pipeline_runs.c.id, pipeline_runs.c.definition).where(
        pipeline_runs.c.id == sa.any_(key_array())
    )


@cache
def stage_limits() -> sa.Select[Any]:
    """(run, how many of its stages may be active at a time)."""
    columns = (pipeline_runs.c.id, pipeline_runs.c.max_concurrent_stages)
    return sa.select(*columns).where(pipeline_runs.c.id == sa.any_(key_array()))


@cache
def queue_positions() -> sa.Select[Any]:
    """(run, pending runs ahead, running runs of its pipeline, limit of those, whether a running run has its key)."""
    run, other = pipeline_runs.c, pipeline_runs.alias("other")
    o, number = other.c, sa.select(sa.func.count())
    is_ahead = sa.or_(o.priority > run.priority, sa.and_(o.priority == run.priority, o.id < run.id))
    running = o.status == RunStatus.RUNNING
    key_is_taken = sa.select(o.id).where(running, o.concurrency_key == run.concurrency_key)
    return sa.select(
        run.id,
        number.where(o.status == RunStatus.PENDING, is_ahead).correlate(pipeline_runs).scalar_subquery(),
        number.where(running, o.pipeline_id == run.pipeline_id).correlate(pipeline_runs).scalar_subquery(),
        run.max_concurrent_runs,
        sa.exists(key_is_taken.correlate(pipeline_runs)),
    ).where(run.id == sa.any_(key_array()))


@lru_cache(CACHED_STATEMENTS)
def latest_runs(selection: Selection) -> sa.Select[Any]:
    """The newest run of each pipeline among the keys."""
    run = pipeline_runs
    return (
        sa.select(*selection.columns)
        .where(run.c.pipeline_id == sa.any_(key_array()))
        .ext(distinct_on(run.c.pipeline_id))
        .order_by(run.c.pipeline_id, run.c.id.desc())
    )


@cache
def stage_run_counts() -> sa.Select[Any]:
    """(run, stage status, how many of its stage runs have it)."""
    run, status = stage_runs.c.pipeline_run_id, stage_runs.c.status
    return sa.select(run, status, sa.func.count()).where(run == sa.any_(key_array())).group_by(run, status)


@cache
def run_totals() -> sa.Select[Any]:
    """(run status, how many runs have it) for runs that are not final."""
    status = pipeline_runs.c.status
    return sa.select(status, sa.func.count()).where(status.in_(RUN_ACTIVE)).group_by(status)
