"""Tables of artifacts and of the stored bytes behind them."""

from __future__ import annotations

import sqlalchemy as sa

from app.database.columns import choice, id_column, instant, json_column, reference, timestamps
from app.database.tables.metadata import metadata
from app.domain.vocabulary import ArtifactStatus, ArtifactType, StorageType

artifacts = sa.Table(
    "artifacts",
    metadata,
    id_column(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text),
    choice("artifact_type", ArtifactType),
    choice("status", ArtifactStatus, default=ArtifactStatus.PENDING, server_default="PENDING"),
    sa.Column("file_path", sa.String(1000), nullable=False),
    sa.Column("file_name", sa.String(255), nullable=False),
    sa.Column("file_size", sa.BigInteger),
    choice("storage_type", StorageType, default=StorageType.LOCAL, server_default="LOCAL"),
    json_column("storage_config"),
    reference("stage_id", "pipeline_stages.id"),
    reference("stage_run_id", "stage_runs.id"),
    json_column("artifact_metadata"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    *timestamps(),
    # ours
    sa.Column("relative_path", sa.String(1000), nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("is_captured_log", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("sha256", sa.String(64), sa.ForeignKey("blobs.sha256", ondelete="RESTRICT")),
    sa.Column("media_type", sa.String(255)),
    sa.CheckConstraint("file_size >= 0", name="file_size"),
    sa.Index(None, "stage_run_id", "id"),
    sa.Index(None, "stage_id", "id"),
    sa.Index(None, "artifact_type", "id"),
    sa.Index(None, "sha256"),
    sa.UniqueConstraint("stage_run_id", "attempt_number", "is_captured_log", "relative_path"),
)

datasets = sa.Table(
    "datasets",
    metadata,
    id_column(),
    reference("artifact_id", "artifacts.id", unique=True),
    sa.Column("format", sa.String(50), nullable=False),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("column_count", sa.Integer),
    json_column("schema"),
    *timestamps(),
)

models = sa.Table(
    "models",
    metadata,
    id_column(),
    reference("artifact_id", "artifacts.id", unique=True),
    sa.Column("model_type", sa.String(100), nullable=False),
    sa.Column("algorithm", sa.String(100), nullable=False),
    sa.Column("framework", sa.String(100), nullable=False),
    sa.Column("model_format", sa.String(50), nullable=False),
    reference("training_dataset_id", "datasets.id", on_delete="SET NULL", nullable=True),
    json_column("training_config"),
    json_column("metrics"),
    *timestamps(),
    sa.Index(None, "training_dataset_id", "id"),
)

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    choice("storage_type", StorageType),
    instant("touched_at", nullable=False, server_default=sa.func.now()),
    instant("created_at", nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
)
