"""Metric points and resource samples, reduced to as many points as a chart needs."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from app.database.reads.selections import METRIC_POINTS, SAMPLES, key_array
from app.database.tables import metric_points, resource_samples


@cache
def sample_peaks(max_points: int) -> sa.Select[Any]:
    """At most ``max_points`` samples per stage run and attempt, in order of time.

    Each is the maximum of every column over neighbouring samples, so that a short spike stays visible. Up to
    ``max_points`` samples are returned unchanged.
    """
    t = resource_samples
    bucketed = (
        sa.select(*SAMPLES.columns, t.c.seq, bucket_of(max_points, (t.c.stage_run_id,), (t.c.seq,)))
        .where(t.c.stage_run_id == sa.any_(key_array()))
        .subquery()
    )
    c = bucketed.c
    peaks = [sa.func.max(c[name]).label(name) for name in SAMPLES.names[2:]]
    return (
        sa.select(c.stage_run_id, c.attempt, *peaks)
        .group_by(c.stage_run_id, c.attempt, c.bucket)
        .order_by(c.stage_run_id, sa.func.max(c.seq))
    )


@cache
def metric_series(max_points: int, *, one_name: bool) -> sa.Select[Any]:
    """At most ``max_points`` points per stage run and metric: the last of each group of neighbouring steps."""
    t = metric_points
    series = (t.c.stage_run_id, t.c.name)
    wanted = t.c.stage_run_id == sa.any_(key_array())
    if one_name:
        wanted = wanted & (t.c.name == sa.bindparam("name", type_=sa.Text))
    bucketed = (
        sa.select(*METRIC_POINTS.columns, t.c.seq, bucket_of(max_points, series, (t.c.step, t.c.seq)))
        .where(wanted)
        .subquery()
    )
    c = bucketed.c
    return (
        sa.select(*(c[name] for name in METRIC_POINTS.names))
        .ext(distinct_on(c.stage_run_id, c.name, c.bucket))
        .order_by(c.stage_run_id, c.name, c.bucket, c.step.desc(), c.seq.desc())
    )


def bucket_of(
    max_points: int,
    partition: tuple[sa.ColumnElement[Any], ...],
    order: tuple[sa.ColumnElement[Any], ...],
) -> sa.ColumnElement[Any]:
    """The number, from 0 to ``max_points`` - 1, of the equally large group a row falls into."""
    position = sa.func.row_number().over(partition_by=partition, order_by=order) - 1
    total = sa.func.count().over(partition_by=partition)
    return (position * max_points // sa.func.greatest(total, max_points)).label("bucket")
