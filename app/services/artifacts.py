"""Artifacts that people and other programs register with a stage run; no attempt made them."""

from __future__ import annotations

import mimetypes
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import artifacts, datasets, models, stage_runs
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.events import EventKind
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import ArtifactStatus, ArtifactType, StorageType
from app.errors import Conflict, DomainError, NotFound
from app.notifications.notifier import Notifier
from app.services.checks import check_all, check_name, check_object, check_text
from app.services.state.outputs import dataset_row, model_row, touch_blobs
from app.services.state.run_transaction import RunTransaction, run_transaction
from app.storage.base import StoredBlob
from app.storage.imports import Imports

NAME_LIMIT = 255
DESCRIPTION_LIMIT = 10_000
LOCATION_LIMIT = 1000
NO_ATTEMPT = 0
"""The attempt of registered artifacts: none made them, so none of them is an input of a later stage."""

_STORAGE_OF_SCHEME = {
    "s3": StorageType.S3,
    "gs": StorageType.GCS,
    "az": StorageType.AZURE,
    "abfs": StorageType.AZURE,
    "abfss": StorageType.AZURE,
}


@dataclass(frozen=True)
class Registration:
    """What a client says about an artifact."""

    stage_run_id: uuid.UUID
    name: str
    artifact_type: ArtifactType
    description: str | None = None
    metadata: Mapping[str, Any] | None = None
    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None
    training_dataset_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Content:
    """Where the bytes are: in our store, or at an address that this server never calls."""

    file_path: str
    file_name: str
    storage_type: StorageType
    blob: StoredBlob | None = None


async def stored_file(imports: Imports, path: str) -> Content:
    """The bytes of a file in the folder for imports."""
    blob = await imports.file(path)
    return Content(blob.key, path.rpartition("/")[2], blob.storage_type, blob)


async def stored_text(imports: Imports, text: str, file_name: str) -> Content:
    blob = await imports.text(text)
    return Content(blob.key, file_name, blob.storage_type, blob)


def external_content(location: str) -> Content:
    """Bytes in another store. An address with credentials is refused: every client could read them."""
    check_text("location", location, LOCATION_LIMIT)
    try:
        parts = urlsplit(location)
    except ValueError:
        raise DomainError("location: is not an address; give one like s3://bucket/key") from None
    storage_type = _STORAGE_OF_SCHEME.get(parts.scheme)
    if storage_type is None or not parts.netloc or not parts.path.strip("/"):
        raise DomainError(
            f"location: must look like s3://bucket/key; its scheme is one of {', '.join(_STORAGE_OF_SCHEME)}"
        )
    if parts.query or parts.fragment or ":" in parts.netloc:
        raise DomainError("location: must not contain credentials, a query or a fragment")
    return Content(location, parts.path.rstrip("/").rpartition("/")[2][:NAME_LIMIT], storage_type)


async def register_artifact(
    engine: AsyncEngine, notifier: Notifier, registration: Registration, content: Content
) -> uuid.UUID:
    """Makes the artifact visible; its id. ``CONFLICT`` if the stage run has a registered one of that name."""
    check_registration(registration)
    run_id = await _run_of(engine, registration.stage_run_id)
    artifact_id = new_id()
    async with run_transaction(engine, notifier, run_id) as transaction:
        await _insert(transaction, registration, content, artifact_id)
        if transaction.run.status not in RUN_FINAL:
            # The events of an ended run are complete: their readers have been told that none follow.
            transaction.record(
                EventKind.ARTIFACT_STORED,
                registration.stage_run_id,
                actor="API",
                cause="it was registered",
                artifactId=str(artifact_id),
                name=registration.name,
                artifactType=registration.artifact_type,
                fileSize=content.blob.size_bytes if content.blob else None,
            )
    return artifact_id


def check_registration(registration: Registration) -> None:
    """Raises ``InvalidInput`` with all that is wrong with what the client says."""
    dataset, model = registration.dataset or DatasetFacts(), registration.model or ModelFacts()
    check_all(
        partial(check_name, registration.name, NAME_LIMIT),
        partial(check_text, "description", registration.description, DESCRIPTION_LIMIT),
        partial(check_object, "artifactMetadata", registration.metadata),
        partial(check_text, "dataset.format", dataset.format, 50),
        partial(_check_count, "rowCount", dataset.row_count),
        partial(_check_count, "columnCount", dataset.column_count),
        partial(_check_columns, dataset.schema),
        partial(check_text, "model.modelType", model.model_type, 100),
        partial(check_text, "model.algorithm", model.algorithm, 100),
        partial(check_text, "model.framework", model.framework, 100),
        partial(check_text, "model.modelFormat", model.format, 50),
        partial(check_object, "model.trainingConfig", model.training_config),
        partial(check_object, "model.metrics", model.metrics),
    )


def _check_count(name: str, count: int | None) -> None:
    if count is not None and count < 0:
        raise DomainError(f"dataset.{name}: must not be negative", path=("dataset", name))


def _check_columns(schema: Any) -> None:
    is_list = isinstance(schema, list) and all(isinstance(column, dict) for column in schema)
    if schema is not None and not is_list:
        raise DomainError(
            "dataset.schema: must be a list of objects, one for each column", path=("dataset", "schema")
        )


async def _run_of(engine: AsyncEngine, stage_run_id: uuid.UUID) -> uuid.UUID:
    statement = sa.select(stage_runs.c.pipeline_run_id).where(stage_runs.c.id == stage_run_id)
    async with engine.connect() as connection:
        run_id = await connection.scalar(statement)
    if run_id is None:
        raise NotFound("There is no such stage run.", path=("stageRunId",))
    found: uuid.UUID = run_id
    return found


async def _insert(
    transaction: RunTransaction, registration: Registration, content: Content, artifact_id: uuid.UUID
) -> None:
    connection = transaction.connection
    await _refuse_taken_name(connection, registration)
    training_dataset_id = await _existing_dataset(connection, registration.training_dataset_id)
    if content.blob is not None:
        await touch_blobs(transaction, [content.blob])
    stage_id = await connection.scalar(
        sa.select(stage_runs.c.stage_id).where(stage_runs.c.id == registration.stage_run_id)
    )
    row = _artifact_row(registration, content)
    await connection.execute(sa.insert(artifacts).values(id=artifact_id, stage_id=stage_id, **row))
    is_a = registration.artifact_type
    if registration.dataset or is_a is ArtifactType.DATASET:
        facts = dataset_row(artifact_id, registration.dataset or DatasetFacts())
        await connection.execute(sa.insert(datasets).values(facts))
    if registration.model or is_a is ArtifactType.MODEL:
        facts = model_row(artifact_id, registration.model or ModelFacts(), training_dataset_id)
        await connection.execute(sa.insert(models).values(facts))


def _artifact_row(registration: Registration, content: Content) -> dict[str, Any]:
    return {
        "name": registration.name,
        "description": registration.description,
        "artifact_type": registration.artifact_type,
        "status": ArtifactStatus.READY,
        "file_path": content.file_path,
        "file_name": content.file_name,
        "file_size": content.blob.size_bytes if content.blob else None,
        "storage_type": content.storage_type,
        "stage_run_id": registration.stage_run_id,
        "artifact_metadata": registration.metadata or None,
        "relative_path": registration.name,
        "attempt_number": NO_ATTEMPT,
        "sha256": content.blob.sha256 if content.blob else None,
        "media_type": mimetypes.guess_type(content.file_name)[0],
    }


async def _refuse_taken_name(connection: AsyncConnection, registration: Registration) -> None:
    """The run is locked, so no other registration can take the name meanwhile."""
    taken = sa.exists().where(
        artifacts.c.stage_run_id == registration.stage_run_id,
        artifacts.c.attempt_number == NO_ATTEMPT,
        artifacts.c.relative_path == registration.name,
    )
    if await connection.scalar(sa.select(taken)):
        raise Conflict(
            "An artifact of this name is registered with the stage run already; choose another.",
            path=("name",),
        )


async def _existing_dataset(connection: AsyncConnection, dataset_id: uuid.UUID | None) -> uuid.UUID | None:
    if dataset_id is None:
        return None
    # Locked, so that it can't be deleted before the row that refers to it is inserted.
    statement = (
        sa.select(datasets.c.id).where(datasets.c.id == dataset_id).with_for_update(key_share=True, read=True)
    )
    if await connection.scalar(statement) is None:
        raise NotFound("There is no such dataset.", path=("model", "trainingDatasetId"))
    return dataset_id


async def update_artifact(engine: AsyncEngine, artifact_id: uuid.UUID, changes: Mapping[str, Any]) -> None:
    """Changes ``description``, ``artifactMetadata`` and ``isActive`` as far as they are among the keys."""
    check_all(
        partial(check_text, "description", changes.get("description"), DESCRIPTION_LIMIT),
        partial(check_object, "artifactMetadata", changes.get("artifactMetadata")),
    )
    columns = {"description": "description", "artifactMetadata": "artifact_metadata", "isActive": "is_active"}
    values = {columns[name]: value for name, value in changes.items()} or {"updated_at": sa.func.now()}
    statement = sa.update(artifacts).where(artifacts.c.id == artifact_id)
    async with engine.begin() as connection:
        changed = await connection.execute(statement.values(values))
    if changed.rowcount == 0:
        raise NotFound("There is no such artifact.", path=("artifactId",))
