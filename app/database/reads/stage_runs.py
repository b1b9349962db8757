"""Statements of the graph about stage runs, for many stage runs at once."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from app.database.reads.selections import DATASETS, key_array
from app.database.tables import artifacts, datasets, stage_attempts, stage_runs
from app.domain.vocabulary import ArtifactStatus


@cache
def stage_run_specs() -> sa.Select[Any]:
    """(stage run, its specification: command, resources, environment...)."""
    return sa.select(stage_runs.c.id, stage_runs.c.spec).where(stage_runs.c.id == sa.any_(key_array()))


@cache
def log_tails() -> sa.Select[Any]:
    """(stage run, attempt, last lines of its output) of attempts that have ended and printed something."""
    columns = (stage_attempts.c.stage_run_id, stage_attempts.c.attempt, stage_attempts.c.log_tail)
    return sa.select(*columns).where(
        stage_attempts.c.stage_run_id == sa.any_(key_array()), stage_attempts.c.log_tail.is_not(None)
    )


@cache
def stored_logs() -> sa.Select[Any]:
    """(stage run, attempt, SHA-256, size, storage type) of the logs that are in the store."""
    found = artifacts.c
    columns = (found.stage_run_id, found.attempt_number, found.sha256, found.file_size, found.storage_type)
    return sa.select(*columns).where(
        found.stage_run_id == sa.any_(key_array()),
        found.is_captured_log,
        found.status == ArtifactStatus.READY,
        found.sha256.is_not(None),
    )


@cache
def datasets_by_stage_run() -> sa.Select[Any]:
    """(stage run, path in its output folder, dataset...) of the datasets that it has produced."""
    return (
        sa.select(artifacts.c.stage_run_id, artifacts.c.relative_path, *DATASETS.columns)
        .join(datasets, datasets.c.artifact_id == artifacts.c.id)
        .where(artifacts.c.stage_run_id == sa.any_(key_array()), artifacts.c.is_active)
        .order_by(artifacts.c.relative_path, artifacts.c.attempt_number)
    )
