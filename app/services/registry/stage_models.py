"""Registers the models that a stage asks to register, when the stage completes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import artifacts, models
from app.domain.vocabulary import AliasMoveKind
from app.services.registry.aliases import AliasChange, is_one_too_many, point, read_alias
from app.services.registry.names import made
from app.services.registry.versions import version_of

ALIASES_NOT_SET = "aliasesNotSet"
"""The key in the metadata of a model for the aliases that its stage could not set: protected ones, or too many."""


@dataclass(frozen=True)
class StageRegistration:
    """What a stage says about one of its models: the name to register it under, and the aliases to set."""

    artifact_id: uuid.UUID
    name: str
    aliases: Sequence[str] = ()


async def register_models(
    connection: AsyncConnection, registrations: Sequence[StageRegistration], actor: str
) -> None:
    """Registers models of a stage in the transaction that completes it and holds its run.

    An alias is set to the new version wherever it points, unless it is protected or the registered model has too many:
    then the metadata of the artifact names it.
    """
    wanted = {registration.artifact_id for registration in registrations}
    statement = sa.select(models.c.artifact_id, models.c.id).where(models.c.artifact_id.in_(wanted))
    model_ids = {row.artifact_id: row.id for row in await connection.execute(statement)}
    names = sorted({registration.name for registration in registrations})
    held = {name: await made(connection, name) for name in names}
    for registration in registrations:
        registered, model_id = held[registration.name], model_ids[registration.artifact_id]
        version = await version_of(connection, registered, model_id, None, actor)
        not_set = []
        for name in dict.fromkeys(registration.aliases):
            change = AliasChange(registration.name, name, None, "set by the stage that made the model", actor)
            alias = await read_alias(connection, registered, change)
            if alias.is_protected or await is_one_too_many(alias):
                not_set.append(name)
            else:
                await point(alias, AliasMoveKind.SET, version.version, version.id)
        if not_set:
            await _note(connection, registration.artifact_id, not_set)


async def _note(connection: AsyncConnection, artifact_id: uuid.UUID, aliases: Sequence[str]) -> None:
    metadata = sa.func.coalesce(artifacts.c.artifact_metadata, sa.literal({}, JSONB))
    more = sa.literal({ALIASES_NOT_SET: aliases}, JSONB)
    await connection.execute(
        sa.update(artifacts)
        .where(artifacts.c.id == artifact_id)
        .values(artifact_metadata=metadata.op("||")(more))
    )
