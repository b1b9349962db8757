"""Publishes the outputs of an attempt: blob, artifact, dataset and model rows in the attempt's last transaction."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.database.columns import new_id
from app.database.tables import artifacts, blobs, datasets, models, stage_runs
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.events import EventKind
from app.domain.specs import readable_config
from app.domain.text import clean_json, clean_text
from app.domain.vocabulary import ArtifactStatus, ArtifactType
from app.services.registry.stage_models import StageRegistration, register_models
from app.services.state.run_transaction import RunTransaction, worker_actor
from app.storage.base import StorageUnavailable, StoredBlob

FRESH_SECONDS = 12 * 3600.0
"""Half of the time after which the janitor deletes a file that is stored but not published."""

TRAINING_DATASET_NOT_FOUND = "trainingDatasetNotFound"
"""The key in the metadata of a model whose ``trainingDataset`` is no dataset of its stage or its dependencies."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the output folder whose bytes are in the store; ``path`` is relative, with forward slashes."""

    path: str
    name: str
    artifact_type: ArtifactType
    blob: StoredBlob
    description: str | None = None
    media_type: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None
    is_captured_log: bool = False

    @property
    def key(self) -> tuple[bool, str]:
        """Unique within an attempt: an output may have the path of the captured log."""
        return self.is_captured_log, self.path


@dataclass(frozen=True)
class StageOutputs:
    """The outputs of an attempt; ``stored_at`` is when its first file was stored (epoch seconds).

    ``metrics`` are the final ones of its ``metrics.json``, ``last_points`` the last values of metrics it reported live.
    """

    files: Sequence[StoredFile] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    last_points: Mapping[str, float] = field(default_factory=dict)
    output_data: Mapping[str, Any] | None = None
    stored_at: float = field(default_factory=time.time)


async def publish_outputs(transaction: RunTransaction, stage: sa.Row[Any], outputs: StageOutputs) -> None:
    """Inserts the rows and one ARTIFACT_STORED event per file; nothing is visible before the commit.

    Raises ``StorageUnavailable`` when the files were stored so long ago that they must be stored once more: a process
    that was stopped meanwhile may find them cleaned up.
    """
    if not outputs.files:
        return
    if time.time() - outputs.stored_at > FRESH_SECONDS:
        raise StorageUnavailable("the outputs were stored too long ago; they are stored once more")
    ids = {file.key: new_id() for file in outputs.files}
    own = {file.path: new_id() for file in outputs.files if file.dataset is not None}
    has_models = any(file.model is not None for file in outputs.files)
    known = {**await _upstream_datasets(transaction, stage), **own} if has_models else own
    await touch_blobs(transaction, [file.blob for file in outputs.files])
    rows = [_artifact_row(stage, file, ids[file.key], known) for file in outputs.files]
    await transaction.connection.execute(sa.insert(artifacts), rows)
    await _insert_datasets(transaction, outputs.files, ids, own)
    await _insert_models(transaction, stage, outputs, ids, known)
    await _register_models(transaction, outputs.files, ids)
    for file in outputs.files:
        transaction.record(
            EventKind.ARTIFACT_STORED,
            stage.id,
            actor=worker_actor(stage.worker_id),
            cause=f"attempt {stage.attempt_number} left it behind",
            artifactId=str(ids[file.key]),
            name=file.name,
            artifactType=file.artifact_type,
            fileSize=file.blob.size_bytes,
            attempt=stage.attempt_number,
        )


async def touch_blobs(transaction: RunTransaction, stored: Iterable[StoredBlob]) -> None:
    """Protect stored bytes from being cleaned up; inserts the rows that are missing."""
    by_digest = {blob.sha256: blob for blob in stored}
    rows = [
        {"sha256": digest, "size_bytes": blob.size_bytes, "storage_type": blob.storage_type}
        for digest, blob in sorted(by_digest.items())
    ]
    statement = insert(blobs)
    touched = statement.on_conflict_do_update(
        index_elements=[blobs.c.sha256], set_={"touched_at": sa.func.now()}
    )
    await transaction.connection.execute(touched, rows)


def _artifact_row(
    stage: sa.Row[Any], file: StoredFile, artifact_id: uuid.UUID, known_datasets: Mapping[str, uuid.UUID]
) -> dict[str, Any]:
    return {
        "id": artifact_id,
        "name": clean_text(file.name)[:255],
        "description": None if file.description is None else clean_text(file.description),
        "artifact_type": file.artifact_type,
        "status": ArtifactStatus.READY,
        "file_path": file.blob.key,
        "file_name": file.path.rpartition("/")[2],
        "file_size": file.blob.size_bytes,
        "storage_type": file.blob.storage_type,
        "stage_id": stage.stage_id,
        "stage_run_id": stage.id,
        "artifact_metadata": clean_json(_metadata(file, known_datasets)) or None,
        "relative_path": file.path,
        "is_captured_log": file.is_captured_log,
        "attempt_number": stage.attempt_number,
        "sha256": file.blob.sha256,
        "media_type": file.media_type,
    }


def _metadata(file: StoredFile, known_datasets: Mapping[str, uuid.UUID]) -> dict[str, Any]:
    """The metadata of the file; if it names a training dataset that does not exist, that name too."""
    wanted = file.model and file.model.training_dataset
    missing = {TRAINING_DATASET_NOT_FOUND: wanted} if wanted and wanted not in known_datasets else {}
    return {**file.metadata, **missing}


async def _insert_datasets(
    transaction: RunTransaction,
    files: Sequence[StoredFile],
    ids: Mapping[tuple[bool, str], uuid.UUID],
    dataset_ids: Mapping[str, uuid.UUID],
) -> None:
    rows = [
        {"id": dataset_ids[file.path], **dataset_row(ids[file.key], file.dataset)}
        for file in files
        if file.dataset is not None
    ]
    if rows:
        await transaction.connection.execute(sa.insert(datasets), rows)


async def _insert_models(
    transaction: RunTransaction,
    stage: sa.Row[Any],
    outputs: StageOutputs,
    ids: Mapping[tuple[bool, str], uuid.UUID],
    known_datasets: Mapping[str, uuid.UUID],
) -> None:
    rows = [
        model_row(
            ids[file.key],
            dataclasses.replace(
                file.model,
                training_config=file.model.training_config or readable_config(stage.spec).params,
                metrics={**outputs.metrics, **(file.model.metrics or {})},
            ),
            known_datasets.get(file.model.training_dataset or ""),
        )
        for file in outputs.files
        if file.model is not None
    ]
    if rows:
        await transaction.connection.execute(sa.insert(models), rows)


async def _register_models(
    transaction: RunTransaction, files: Sequence[StoredFile], ids: Mapping[tuple[bool, str], uuid.UUID]
) -> None:
    """Registers the models whose stage asks for it."""
    registrations = [
        StageRegistration(ids[file.key], file.model.register, file.model.aliases or ())
        for file in files
        if file.model is not None and file.model.register is not None
    ]
    if registrations:
        await register_models(transaction.connection, registrations, actor=f"run {transaction.run.id}")


def dataset_row(artifact_id: uuid.UUID, facts: DatasetFacts) -> dict[str, Any]:
    return {
        "artifact_id": artifact_id,
        "format": (facts.format or "unknown")[:50],
        "row_count": facts.row_count,
        "column_count": facts.column_count,
        "schema": clean_json(facts.schema),
    }


def model_row(
    artifact_id: uuid.UUID, facts: ModelFacts, training_dataset_id: uuid.UUID | None
) -> dict[str, Any]:
    return {
        "artifact_id": artifact_id,
        "model_type": (facts.model_type or "unknown")[:100],
        "algorithm": (facts.algorithm or "unknown")[:100],
        "framework": (facts.framework or "unknown")[:100],
        "model_format": (facts.format or "unknown")[:50],
        "training_dataset_id": training_dataset_id,
        "training_config": clean_json(facts.training_config) or None,
        "metrics": clean_json(facts.metrics) or None,
    }


async def _upstream_datasets(transaction: RunTransaction, stage: sa.Row[Any]) -> dict[str, uuid.UUID]:
    """Dataset ids by ``<dependency>/<path>``, for the direct dependencies of the stage run."""
    upstream = stage_runs.alias("upstream")
    this = stage_runs.alias("this")
    source = sa.func.coalesce(upstream.c.reused_from_id, upstream.c.id)
    statement = (
        sa.select(upstream.c.name, artifacts.c.relative_path, datasets.c.id)
        .select_from(this)
        .join(upstream, upstream.c.id == sa.any_(this.c.depends_on))
        .join(artifacts, artifacts.c.stage_run_id == source)
        .join(datasets, datasets.c.artifact_id == artifacts.c.id)
        .where(this.c.id == stage.id)
        .order_by(artifacts.c.attempt_number)
    )
    rows = await transaction.connection.execute(statement)
    return {f"{name}/{path}": dataset_id for name, path, dataset_id in rows}
