"""All tables.

``pipelines``, ``pipeline_stages``, ``pipeline_runs``, ``stage_runs``, ``artifacts``, ``datasets`` and ``models`` and
their columns were given by the specification of the API. Columns below ``# ours`` and the other tables were added.

Units: durations in seconds, ``memory_usage`` and ``max_memory_usage`` in MB, ``*_bytes`` in bytes, CPU in percent of
one core.
"""

from __future__ import annotations

import sqlalchemy as sa

from app.database.tables.artifacts import artifacts, blobs, datasets, models
from app.database.tables.attempts import metric_points, resource_samples, run_events, stage_attempts, workers
from app.database.tables.metadata import metadata
from app.database.tables.pipelines import pipeline_stages, pipelines, schedules, webhooks
from app.database.tables.registry import model_alias_moves, model_aliases, model_versions, registered_models
from app.database.tables.runs import deleted_runs, pipeline_runs, stage_runs
from app.database.triggers import DELETED_RUNS_RECORD, STATUS_GUARD

__all__ = [
    "artifacts",
    "blobs",
    "datasets",
    "deleted_runs",
    "metadata",
    "metric_points",
    "model_alias_moves",
    "model_aliases",
    "model_versions",
    "models",
    "pipeline_runs",
    "pipeline_stages",
    "pipelines",
    "registered_models",
    "resource_samples",
    "run_events",
    "schedules",
    "stage_attempts",
    "stage_runs",
    "webhooks",
    "workers",
]


@sa.event.listens_for(metadata, "after_create")
def _make_triggers(_: sa.MetaData, connection: sa.Connection, **__: object) -> None:
    for statement in (*STATUS_GUARD, *DELETED_RUNS_RECORD):
        connection.exec_driver_sql(statement)
