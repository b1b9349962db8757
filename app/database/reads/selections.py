"""The columns that the graph reads of each table, and the statements that read rows for many keys at once.

Every statement is built once and takes its keys as one array: PostgreSQL plans it once, and the number of statements
of a GraphQL query does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from app.database.tables import (
    artifacts,
    datasets,
    metric_points,
    model_alias_moves,
    model_aliases,
    model_versions,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    registered_models,
    resource_samples,
    run_events,
    schedules,
    stage_attempts,
    stage_runs,
    webhooks,
    workers,
)

CACHED_STATEMENTS = 512

KEYS = "keys"
"""Name of the array parameter of every batched statement."""


@dataclass(frozen=True)
class Selection:
    """The columns of a table that a statement reads."""

    table: sa.FromClause
    names: tuple[str, ...]

    @property
    def columns(self) -> list[sa.ColumnElement[Any]]:
        return [self.table.c[name] for name in self.names]

    def narrowed(self, wanted: Collection[str]) -> Selection:
        """The wanted columns, and all ids."""
        kept = (name for name in self.names if name in wanted or isinstance(self.table.c[name].type, sa.Uuid))
        return Selection(self.table, tuple(kept))

    def with_columns(self, names: Collection[str]) -> Selection:
        """The selection with these columns added."""
        missing = tuple(name for name in names if name not in self.names)
        return Selection(self.table, self.names + missing) if missing else self


def all_columns(table: sa.FromClause, *, but: Sequence[str] = ()) -> Selection:
    """Every column of ``table`` except ``but``, which are large, secret or internal."""
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
REGISTERED_MODELS = all_columns(registered_models, but=("last_version", "last_move_seq"))
MODEL_VERSIONS = all_columns(model_versions)
MODEL_ALIASES = all_columns(
    sa.select(model_aliases, model_versions.c.version)
    .join(model_versions, model_versions.c.id == model_aliases.c.version_id)
    .subquery("aliases")
)
MODEL_ALIAS_MOVES = all_columns(model_alias_moves)
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


@lru_cache(CACHED_STATEMENTS)
def rows_by(selection: Selection, key: str, *order: str) -> sa.Select[Any]:
    """All rows whose column ``key`` is among the keys, ordered by ``order``."""
    table = selection.table
    return (
        sa.select(*selection.columns)
        .where(table.c[key] == sa.any_(key_array()))
        .order_by(*(table.c[name] for name in order))
    )
