"""The statement behind a download."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import artifacts
from app.database.streams import Row
from app.domain.statuses import ArtifactStatus


async def downloadable_artifact(connection: AsyncConnection, artifact_id: UUID) -> Row | None:
    """``(file_name, media_type, file_size, sha256)`` of an artifact whose bytes can be read."""
    found = artifacts.c
    statement = sa.select(found.file_name, found.media_type, found.file_size, found.sha256).where(
        found.id == artifact_id,
        found.is_active,
        found.status == ArtifactStatus.READY,
        found.sha256.is_not(None),
    )
    return (await connection.execute(statement)).one_or_none()
