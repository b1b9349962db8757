"""What the graph reads: which columns of which table, and the statements that fetch them for many keys at once.

Every statement here is built once and takes its keys as one array, so PostgreSQL plans it once and the number of
statements of a GraphQL query does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on

from app.database.models import (
    artifacts,
    datasets,
    metric_points,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    resource_samples,
    run_events,
    schedules,
    stage_attempts,
    stage_runs,
    webhooks,
    workers,
)
from app.domain.statuses import ArtifactStatus, Phase, RunStatus

KEPT_STATEMENTS = 512

KEYS = "keys"
"""Name of the array parameter that every batched statement takes."""


@dataclass(frozen=True)
class Selection:
    """The columns of a table which the graph reads."""

    table: sa.Table
    names: tuple[str, ...]

    @property
    def columns(self) -> list[sa.ColumnElement[Any]]:
        return [self.table.c[name] for name in self.names]

    def narrowed(self, wanted: Collection[str]) -> Selection:
        """The wanted columns, and all that are keys."""
        kept = (name for name in self.names if name in wanted or isinstance(self.table.c[name].type, sa.Uuid))
        return Selection(self.table, tuple(kept))

    def with_columns(self, names: Collection[str]) -> Selection:
        """These columns too."""
        missing = tuple(name for name in names if name not in self.names)
        return Selection(self.table, self.names + missing) if missing else self


def all_columns(table: sa.Table, *, but: Sequence[str] = ()) -> Selection:
    """Every column of ``table`` but those that are large or nobody's business."""
    return Selection(table, tuple(column.name for column in table.columns if column.name not in but))


PIPELINES = all_columns(pipelines)
STAGES = all_columns(pipeline_stages)
RUNS = all_columns(
    pipeline_runs,
    but=(
        "definition",
        "idempotency_key",
        "last_sample_seq",
        "last_metric_seq",
        "open_stage_count",
        "timeout_seconds",
        "fail_fast",
        "max_concurrent_stages",
        "max_concurrent_runs",
    ),
)
STAGE_RUNS = all_columns(
    stage_runs, but=("spec", "waiting_for", "cpus", "memory_mb", "cache_key", "cache_parts")
)
ARTIFACTS = all_columns(artifacts, but=("is_captured_log",))
DATASETS = all_columns(datasets)
MODELS = all_columns(models)
WORKERS = all_columns(workers)
SCHEDULES = all_columns(schedules)
WEBHOOKS = all_columns(webhooks, but=("secret",))
ATTEMPTS = all_columns(stage_attempts, but=("log_tail", "journal_offset", "metrics_offset"))
EVENTS = Selection(run_events, ("seq", "kind", "stage_run_id", "payload", "at"))
SAMPLES = Selection(
    resource_samples,
    (
        "stage_run_id",
        "attempt",
        "at",
        "cpu_percent",
        "memory_bytes",
        "process_count",
        "read_bytes",
        "write_bytes",
    ),
)
METRIC_POINTS = Selection(metric_points, ("stage_run_id", "attempt", "name", "step", "value", "at"))


def key_array() -> sa.BindParameter[Any]:
    return sa.bindparam(KEYS, type_=ARRAY(sa.Uuid))


@lru_cache(KEPT_STATEMENTS)
def rows_by(selection: Selection, key: str, *order: str) -> sa.Select[Any]:
    """All rows whose ``key`` is among the keys, in ``order``."""
    table = selection.table
    return (
        sa.select(*selection.columns)
        .where(table.c[key] == sa.any_(key_array()))
        .order_by(*(table.c[name] for name in order))
    )


@cache
def run_definitions() -> sa.Select[Any]:
    """(run, the definition it executes): large, so fetched only when asked for."""
    return sa.select(pipeline_runs.c.id, pipeline_runs.c.definition).where(
        pipeline_runs.c.id == sa.any_(key_array())
    )


@cache
def stage_limits() -> sa.Select[Any]:
    """(run, how many of its stages may be at work at a time)."""
    columns = (pipeline_runs.c.id, pipeline_runs.c.max_concurrent_stages)
    return sa.select(*columns).where(pipeline_runs.c.id == sa.any_(key_array()))


@cache
def capacity() -> sa.Select[Any]:
    """(live workers, active stage runs, running runs) of the whole installation."""
    held = (Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING)
    running = sa.select(sa.func.count()).where(pipeline_runs.c.status == RunStatus.RUNNING)
    return sa.select(
        sa.select(sa.func.count()).where(workers.c.lease_until > sa.func.now()).scalar_subquery(),
        sa.select(sa.func.count()).where(stage_runs.c.phase.in_(held)).scalar_subquery(),
        running.scalar_subquery(),
    )


@cache
def queue_places() -> sa.Select[Any]:
    """(run, pending runs ahead, running runs of its pipeline, how many of those may be, whether its key is taken)."""
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


@cache
def stage_run_specs() -> sa.Select[Any]:
    """(stage run, how its process is executed)."""
    return sa.select(stage_runs.c.id, stage_runs.c.spec).where(stage_runs.c.id == sa.any_(key_array()))


@cache
def log_tails() -> sa.Select[Any]:
    """(stage run, attempt, the last lines it printed) of attempts that are over and printed anything."""
    columns = (stage_attempts.c.stage_run_id, stage_attempts.c.attempt, stage_attempts.c.log_tail)
    return sa.select(*columns).where(
        stage_attempts.c.stage_run_id == sa.any_(key_array()), stage_attempts.c.log_tail.is_not(None)
    )


@cache
def stored_logs() -> sa.Select[Any]:
    """(stage run, attempt, SHA-256, size) of the logs which are in the store."""
    found = artifacts.c
    columns = (found.stage_run_id, found.attempt_number, found.sha256, found.file_size)
    return sa.select(*columns).where(
        found.stage_run_id == sa.any_(key_array()),
        found.is_captured_log,
        found.status == ArtifactStatus.READY,
        found.sha256.is_not(None),
    )


@lru_cache(KEPT_STATEMENTS)
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
def datasets_by_stage_run() -> sa.Select[Any]:
    """(stage run, path in its output folder, dataset...) of the data sets which are its results."""
    return (
        sa.select(artifacts.c.stage_run_id, artifacts.c.relative_path, *DATASETS.columns)
        .join(datasets, datasets.c.artifact_id == artifacts.c.id)
        .where(artifacts.c.stage_run_id == sa.any_(key_array()), artifacts.c.is_active)
        .order_by(artifacts.c.relative_path, artifacts.c.attempt_number)
    )


@cache
def sample_peaks(max_points: int) -> sa.Select[Any]:
    """At most ``max_points`` samples per stage run and attempt, in order of time.

    Neighbouring samples are merged to the peaks of all their values, so that a short spike stays visible; with few
    samples each one stands for itself.
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


@cache
def run_totals() -> sa.Select[Any]:
    """(run status, how many runs have it) for runs that are not over."""
    status = pipeline_runs.c.status
    active = (RunStatus.PENDING, RunStatus.RUNNING)
    return sa.select(status, sa.func.count()).where(status.in_(active)).group_by(status)


@cache
def workers_with_load() -> sa.Select[Any]:
    """(number of stage runs it looks after, whether its lease holds, row...) of each worker."""
    held = (Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING)
    load = (
        sa.select(sa.func.count())
        .where(stage_runs.c.worker_id == workers.c.id, stage_runs.c.phase.in_(held))
        .scalar_subquery()
    )
    alive = workers.c.lease_until > sa.func.now()
    return sa.select(load, alive, *WORKERS.columns).order_by(workers.c.lease_until.desc(), workers.c.id)
