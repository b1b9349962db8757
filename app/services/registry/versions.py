"""Registers models as versions, deletes versions, and describes registered models."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import (
    artifacts,
    model_aliases,
    model_versions,
    models,
    pipeline_runs,
    registered_models,
    stage_runs,
)
from app.domain.vocabulary import TriggerType
from app.errors import DomainError, ErrorCode, NotFound
from app.services.checks import check_all, check_tags, check_text
from app.services.registry.names import (
    ACTOR_LIMIT,
    TEXT_LIMIT,
    check_name,
    locked,
    made,
    next_number,
    no_version,
)


@dataclass(frozen=True)
class NewVersion:
    """A model to register under a name."""

    name: str
    model_id: uuid.UUID
    note: str | None = None
    created_by: str | None = None


async def register_version(engine: AsyncEngine, new: NewVersion) -> uuid.UUID:
    """The id of the model's version; creates the registered model if there is none of this name.

    A model that already has a version there keeps it, with its note.
    """
    check_all(
        partial(check_name, new.name),
        partial(check_text, "note", new.note, TEXT_LIMIT),
        partial(check_text, "createdBy", new.created_by, ACTOR_LIMIT),
    )
    async with engine.begin() as connection:
        await _hold_run_of(connection, new.model_id)
        registered = await made(connection, new.name)
        version = await version_of(
            connection, registered, new.model_id, new.note, new.created_by or TriggerType.API.value
        )
    version_id: uuid.UUID = version.id
    return version_id


async def update_registered_model(engine: AsyncEngine, name: str, changes: Mapping[str, Any]) -> uuid.UUID:
    """Changes ``description`` and ``tags`` as far as they are among the keys; ``None`` removes them. Returns the id."""
    check_all(
        partial(check_text, "description", changes.get("description"), TEXT_LIMIT),
        partial(check_tags, changes.get("tags") or ()),
    )
    values = {key: changes[key] or None for key in ("description", "tags") if key in changes}
    async with engine.begin() as connection:
        registered = await locked(connection, name)
        this = registered_models.c.id == registered.id
        if values:
            await connection.execute(sa.update(registered_models).where(this).values(**values))
    registered_id: uuid.UUID = registered.id
    return registered_id


async def delete_version(engine: AsyncEngine, name: str, version: int) -> uuid.UUID:
    """Removes a version that no alias points to; returns its id. The model stays, and the number is not used again."""
    async with engine.begin() as connection:
        registered = await locked(connection, name)
        this = sa.and_(
            model_versions.c.registered_model_id == registered.id, model_versions.c.version == version
        )
        version_id = (
            await connection.execute(sa.select(model_versions.c.id).where(this))
        ).scalar_one_or_none()
        if version_id is None:
            raise no_version(name, version)
        pointing = sa.select(model_aliases.c.alias).where(model_aliases.c.version_id == version_id)
        aliases = (await connection.execute(pointing.order_by(model_aliases.c.alias))).scalars().all()
        if aliases:
            raise DomainError(
                f"version {version} of {name!r} has the aliases {', '.join(aliases)}; move or remove them first",
                path=("version",),
                code=ErrorCode.NOT_DELETABLE,
            )
        await connection.execute(sa.delete(model_versions).where(this))
    deleted: uuid.UUID = version_id
    return deleted


async def _hold_run_of(connection: AsyncConnection, model_id: uuid.UUID) -> None:
    """Locks the run of a model against deletion; a run is locked before a registered model."""
    statement = (
        sa.select(pipeline_runs.c.id)
        .join(stage_runs, stage_runs.c.pipeline_run_id == pipeline_runs.c.id)
        .join(artifacts, artifacts.c.stage_run_id == stage_runs.c.id)
        .join(models, models.c.artifact_id == artifacts.c.id)
        .where(models.c.id == model_id)
        .with_for_update(read=True, key_share=True, of=pipeline_runs)
    )
    if (await connection.execute(statement)).first() is None:
        raise NotFound(f"there is no model {model_id}", path=("modelId",))


async def version_of(
    connection: AsyncConnection,
    registered: sa.Row[Any, Any],
    model_id: uuid.UUID,
    note: str | None,
    created_by: str,
) -> sa.Row[Any, Any]:
    """(id, version) of the model, numbered now if it has none."""
    columns = (model_versions.c.id, model_versions.c.version)
    known = sa.select(*columns).where(
        model_versions.c.registered_model_id == registered.id, model_versions.c.model_id == model_id
    )
    row = (await connection.execute(known)).one_or_none()
    if row is not None:
        return row
    number = await next_number(connection, registered, registered_models.c.last_version)
    values = {
        "id": new_id(),
        "registered_model_id": registered.id,
        "version": number,
        "model_id": model_id,
        "created_by": created_by,
        "note": note,
    }
    return (await connection.execute(sa.insert(model_versions).values(values).returning(*columns))).one()
