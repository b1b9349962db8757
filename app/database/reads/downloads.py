"""Statements for downloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.reads.streams import Row
from app.database.tables import (
    artifacts,
    model_aliases,
    model_versions,
    models,
    registered_models,
    stage_runs,
)
from app.domain.vocabulary import ArtifactStatus

_HAS_BYTES = (
    artifacts.c.is_active,
    artifacts.c.status == ArtifactStatus.READY,
    artifacts.c.sha256.is_not(None),
)
"""Condition on an artifact: it was not withdrawn, and its bytes are in the store."""


async def downloadable_artifact(connection: AsyncConnection, artifact_id: UUID) -> Row | None:
    """``(file_name, media_type, file_size, sha256, stage_run_id, run_id)`` of an artifact whose bytes can be read."""
    found = artifacts.c
    statement = (
        sa.select(
            found.file_name,
            found.media_type,
            found.file_size,
            found.sha256,
            found.stage_run_id,
            stage_runs.c.pipeline_run_id.label("run_id"),
        )
        .join(stage_runs, stage_runs.c.id == found.stage_run_id)
        .where(found.id == artifact_id, *_HAS_BYTES)
    )
    return (await connection.execute(statement)).one_or_none()


def version_of_alias(name: str, alias: str) -> sa.Select[Any]:
    """(artifact_id, version) of the version of a registered model that an alias points to."""
    pointing = sa.and_(model_aliases.c.version_id == model_versions.c.id, model_aliases.c.alias == alias)
    return _version_of(name).join(model_aliases, pointing)


def version_of_number(name: str, version: int) -> sa.Select[Any]:
    """(artifact_id, version) of a version of a registered model."""
    return _version_of(name).where(model_versions.c.version == version)


def _version_of(name: str) -> sa.Select[Any]:
    named = registered_models.c.id == model_versions.c.registered_model_id
    return (
        sa.select(models.c.artifact_id, model_versions.c.version)
        .select_from(model_versions)
        .join(registered_models, named)
        .join(models, models.c.id == model_versions.c.model_id)
        .where(registered_models.c.name == name)
    )


async def downloadable_outputs(
    connection: AsyncConnection, stage_run_id: UUID
) -> tuple[UUID, str, Sequence[Row]] | None:
    """The run of a stage run, the name of its stage, and its outputs without the captured log, ordered by path.

    An output is ``(relative_path, sha256, file_size, created_at)``. A reused stage run has the outputs of its source.
    None when there is no such stage run.
    """
    source, found = stage_runs.alias("source"), artifacts.c
    stage = (
        sa.select(stage_runs.c.pipeline_run_id, stage_runs.c.name, source.c.id, source.c.attempt_number)
        .join(source, source.c.id == sa.func.coalesce(stage_runs.c.reused_from_id, stage_runs.c.id))
        .where(stage_runs.c.id == stage_run_id)
    )
    row = (await connection.execute(stage)).one_or_none()
    if row is None:
        return None
    run_id, name, source_id, attempt = row
    outputs = (
        sa.select(found.relative_path, found.sha256, found.file_size, found.created_at)
        .where(
            found.stage_run_id == source_id,
            found.attempt_number == attempt,
            ~found.is_captured_log,
            *_HAS_BYTES,
        )
        .order_by(found.relative_path)
    )
    return run_id, name, (await connection.execute(outputs)).all()
