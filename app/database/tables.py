"""All tables.

The first seven, ``pipelines`` to ``models``, and their columns were given by the specification of the API; columns
below ``# ours`` were added.

Units: durations in seconds, ``memory_usage`` and ``max_memory_usage`` in MB, ``*_bytes`` in bytes, CPU in percent of
one core.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from app.database.columns import choice, id_column, instant, json_column, reference, timestamps
from app.database.triggers import DELETED_RUNS_RECORD, STATUS_GUARD
from app.domain.events import EventKind
from app.domain.vocabulary import (
    ArtifactStatus,
    ArtifactType,
    FinishReason,
    MissedPolicy,
    Phase,
    RunStatus,
    StageStatus,
    StageType,
    StorageType,
    TriggerType,
)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

pipelines = sa.Table(
    "pipelines",
    metadata,
    id_column(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text),
    choice("status", RunStatus, default=RunStatus.PENDING, server_default="PENDING"),
    json_column("config"),
    instant("started_at"),
    instant("completed_at"),
    sa.Column("execution_time", sa.Double),
    sa.Column("memory_usage", sa.Double),
    sa.Column("cpu_usage", sa.Double),
    *timestamps(),
    sa.Index(None, "name", "id"),
    sa.Index(None, "status", "id"),
)

pipeline_stages = sa.Table(
    "pipeline_stages",
    metadata,
    id_column(),
    reference("pipeline_id", "pipelines.id"),
    sa.Column("name", sa.String(255), nullable=False),
    choice("stage_type", StageType),
    sa.Column("custom_name", sa.String(255)),
    choice("status", StageStatus, default=StageStatus.PENDING, server_default="PENDING"),
    sa.Column("order", sa.Integer, nullable=False),
    json_column("config"),
    json_column("dependencies"),
    instant("started_at"),
    instant("completed_at"),
    sa.Column("execution_time", sa.Double),
    sa.Column("output_path", sa.String(500)),
    json_column("metrics"),
    sa.Column("logs", sa.Text),
    *timestamps(),
    # ours: a stage that is removed from its pipeline is retained for the runs that refer to it
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.CheckConstraint("stage_type <> 'CUSTOM' OR custom_name IS NOT NULL", name="custom_name"),
    sa.Index(
        "uq_pipeline_stages_active_name",
        "pipeline_id",
        "name",
        unique=True,
        postgresql_where=sa.text("is_active"),
    ),
    sa.Index(None, "pipeline_id", "order", "id"),
)

pipeline_runs = sa.Table(
    "pipeline_runs",
    metadata,
    id_column(),
    reference("pipeline_id", "pipelines.id"),
    choice("status", RunStatus, default=RunStatus.PENDING, server_default="PENDING"),
    choice("trigger_type", TriggerType, default=TriggerType.API, server_default="API"),
    sa.Column("triggered_by", sa.String(255)),
    instant("started_at"),
    instant("completed_at"),
    sa.Column("execution_time", sa.Double),
    json_column("run_config"),
    sa.Column("environment", sa.String(50)),
    sa.Column("max_memory_usage", sa.Double),
    sa.Column("max_cpu_usage", sa.Double),
    sa.Column("success_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error_message", sa.Text),
    json_column("output_data"),
    json_column("tags"),
    sa.Column("notes", sa.Text),
    *timestamps(),
    # ours
    json_column("definition", nullable=False),
    sa.Column("idempotency_key", sa.String(255)),
    reference("retry_of_id", "pipeline_runs.id", on_delete="SET NULL", nullable=True),
    instant("cancel_requested_at"),
    sa.Column("cancel_reason", sa.Text),
    sa.Column("cancel_actor", sa.String(255)),
    instant("deadline_at"),
    choice("finish_reason", FinishReason, nullable=True),
    sa.Column("timeout_seconds", sa.Double),
    sa.Column("fail_fast", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("max_concurrent_stages", sa.Integer),
    sa.Column("max_concurrent_runs", sa.Integer),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    instant("queue_deadline_at"),
    sa.Column("concurrency_key", sa.String(255)),
    sa.Column("open_stage_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_event_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_sample_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_metric_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint(
        "(status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (completed_at IS NOT NULL)", name="completed_at"
    ),
    sa.CheckConstraint(
        "open_stage_count >= 0 AND (completed_at IS NULL OR open_stage_count = 0)", name="open_stage_count"
    ),
    sa.Index(None, "pipeline_id", "id"),
    sa.Index(None, "status", "id"),
    sa.Index(None, "retry_of_id"),
    sa.Index(None, "updated_at"),
    sa.Index("ix_pipeline_runs_tags", "tags", postgresql_using="gin"),
    sa.Index(
        "ix_pipeline_runs_active_concurrency_key",
        "concurrency_key",
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING') AND concurrency_key IS NOT NULL"),
    ),
    sa.Index(
        "uq_pipeline_runs_idempotency_key",
        "idempotency_key",
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    ),
)

stage_runs = sa.Table(
    "stage_runs",
    metadata,
    id_column(),
    reference("pipeline_run_id", "pipeline_runs.id"),
    reference("stage_id", "pipeline_stages.id"),
    choice("status", StageStatus, default=StageStatus.PENDING, server_default="PENDING"),
    sa.Column("attempt_number", sa.Integer, nullable=False, server_default="0"),
    instant("started_at"),
    instant("completed_at"),
    sa.Column("execution_time", sa.Double),
    sa.Column("memory_usage", sa.Double),
    sa.Column("cpu_usage", sa.Double),
    json_column("output_data"),
    sa.Column("error_message", sa.Text),
    sa.Column("logs", sa.Text),
    *timestamps(),
    # ours
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    choice("phase", Phase, default=Phase.BLOCKED, server_default="blocked"),
    json_column("spec", nullable=False),
    sa.Column("depends_on", ARRAY(sa.Uuid), nullable=False, server_default="{}"),
    sa.Column("waiting_for", sa.Integer, nullable=False, server_default="0"),
    sa.Column("allow_failure", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("cpus", sa.Double, nullable=False, server_default="1"),
    sa.Column("memory_mb", sa.Integer),
    instant("not_before"),
    reference("worker_id", "workers.id", on_delete="SET NULL", nullable=True),
    choice("finish_reason", FinishReason, nullable=True),
    sa.Column("exit_code", sa.Integer),
    sa.Column("signal", sa.Integer),
    json_column("metrics"),
    instant("stop_requested_at"),
    choice("stop_reason", FinishReason, nullable=True),
    sa.Column("stop_actor", sa.String(255)),
    sa.Column("stop_cause", sa.Text),
    sa.Column("lost_count", sa.Integer, nullable=False, server_default="0"),
    reference("reused_from_id", "stage_runs.id", on_delete="SET NULL", nullable=True),
    sa.Column("cache_key", sa.String(64)),
    json_column("cache_parts"),
    json_column("cache_miss"),
    sa.Column("cache_hit", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(
        "(phase = 'final') = (status IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED'))", name="final_status"
    ),
    sa.CheckConstraint(
        "phase = 'final' OR (status = 'RUNNING') = (phase IN ('running', 'collecting'))",
        name="running_status",
    ),
    sa.CheckConstraint("waiting_for >= 0", name="waiting_for"),
    sa.Index(None, "pipeline_run_id", "position", "id"),
    sa.Index(None, "stage_id", "id"),
    sa.Index("ix_stage_runs_ready", "not_before", "id", postgresql_where=sa.text("phase = 'ready'")),
    sa.Index(
        "ix_stage_runs_active",
        "worker_id",
        postgresql_where=sa.text("phase IN ('claimed', 'running', 'collecting')"),
    ),
    sa.Index(None, "reused_from_id"),
    sa.Index(
        "ix_stage_runs_cache_key",
        "stage_id",
        "cache_key",
        "id",
        postgresql_where=sa.text("cache_key IS NOT NULL"),
    ),
)

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

run_events = sa.Table(
    "run_events",
    metadata,
    reference("run_id", "pipeline_runs.id", primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    choice("kind", EventKind),
    reference("stage_run_id", "stage_runs.id", nullable=True),
    json_column("payload", nullable=False),
    instant("at", nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Index(None, "stage_run_id"),
)

stage_attempts = sa.Table(
    "stage_attempts",
    metadata,
    reference("stage_run_id", "stage_runs.id", primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    reference("worker_id", "workers.id", on_delete="SET NULL", nullable=True),
    sa.Column("host_id", sa.Uuid, nullable=False),
    sa.Column("executor", sa.String(20), nullable=False),
    instant("claimed_at", nullable=False, server_default=sa.func.now()),
    instant("started_at"),
    instant("finished_at"),
    choice("finish_reason", FinishReason, nullable=True),
    sa.Column("exit_code", sa.Integer),
    sa.Column("signal", sa.Integer),
    sa.Column("error_message", sa.Text),
    sa.Column("peak_memory_bytes", sa.BigInteger),
    sa.Column("peak_cpu_percent", sa.Double),
    sa.Column("cpu_seconds", sa.Double),
    sa.Column("log_bytes", sa.BigInteger),
    sa.Column("log_dropped_bytes", sa.BigInteger),
    sa.Column("log_tail", sa.Text),
    sa.Column("wall_seconds", sa.Double),
    json_column("evidence"),
    sa.Column("journal_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("metrics_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index(None, "worker_id"),
)

resource_samples = sa.Table(
    "resource_samples",
    metadata,
    reference("run_id", "pipeline_runs.id", primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    reference("stage_run_id", "stage_runs.id"),
    sa.Column("attempt", sa.Integer, nullable=False),
    instant("at", nullable=False),
    sa.Column("cpu_percent", sa.Double, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("process_count", sa.Integer, nullable=False),
    sa.Column("read_bytes", sa.BigInteger),
    sa.Column("write_bytes", sa.BigInteger),
    sa.Index(None, "stage_run_id", "at"),
)

metric_points = sa.Table(
    "metric_points",
    metadata,
    reference("run_id", "pipeline_runs.id", primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    reference("stage_run_id", "stage_runs.id"),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    instant("at", nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Index(None, "stage_run_id", "name", "step"),
)

workers = sa.Table(
    "workers",
    metadata,
    id_column(),
    sa.Column("host_id", sa.Uuid, nullable=False),
    sa.Column("host_name", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("cpus", sa.Double, nullable=False),
    sa.Column("memory_mb", sa.Integer),
    instant("lease_until", nullable=False),
    *timestamps(),
    sa.Index(None, "host_id"),
    sa.Index(None, "lease_until"),
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

schedules = sa.Table(
    "schedules",
    metadata,
    id_column(),
    reference("pipeline_id", "pipelines.id"),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("cron", sa.String(200), nullable=False),
    sa.Column("time_zone", sa.String(100), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    choice("missed_policy", MissedPolicy),
    json_column("run_config"),
    sa.Column("environment", sa.String(50)),
    json_column("tags"),
    instant("next_run_at"),
    instant("last_run_at"),
    reference("last_run_id", "pipeline_runs.id", on_delete="SET NULL", nullable=True),
    sa.Column("last_error", sa.Text),
    *timestamps(),
    sa.CheckConstraint("enabled = (next_run_at IS NOT NULL)", name="next_run_at"),
    sa.Index(None, "pipeline_id", "id"),
    sa.Index(None, "last_run_id"),
    sa.Index(None, "next_run_at", postgresql_where=sa.text("next_run_at IS NOT NULL")),
    sa.UniqueConstraint("pipeline_id", "name"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    id_column(),
    reference("pipeline_id", "pipelines.id"),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("secret", sa.String(64), nullable=False),
    *timestamps(),
    sa.Index(None, "pipeline_id", "id"),
    sa.UniqueConstraint("pipeline_id", "name"),
)

deleted_runs = sa.Table(
    "deleted_runs",
    metadata,
    # no foreign keys: the run is deleted, and its pipeline may be
    sa.Column("run_id", sa.Uuid, primary_key=True),
    sa.Column("pipeline_id", sa.Uuid, nullable=False),
    instant("deleted_at", nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Index(None, "deleted_at"),
)


@sa.event.listens_for(metadata, "after_create")
def _make_triggers(_: sa.MetaData, connection: sa.Connection, **__: object) -> None:
    for statement in (*STATUS_GUARD, *DELETED_RUNS_RECORD):
        connection.exec_driver_sql(statement)
