"""Create the tables

Revision: 0001
Follows:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "storage_type",
            sa.Enum(
                "LOCAL",
                "S3",
                "GCS",
                "AZURE",
                name="storage_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("touched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_blobs_sha256")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "pipelines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "RUNNING",
                "COMPLETED",
                "FAILED",
                "CANCELLED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("execution_time", sa.Double(), nullable=True),
        sa.Column("memory_usage", sa.Double(), nullable=True),
        sa.Column("cpu_usage", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
    )
    op.create_index(op.f("ix_pipelines_name_id"), "pipelines", ["name", "id"], unique=False)
    op.create_index(op.f("ix_pipelines_status_id"), "pipelines", ["status", "id"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host_id", sa.Uuid(), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_host_id"), "workers", ["host_id"], unique=False)
    op.create_index(op.f("ix_workers_lease_until"), "workers", ["lease_until"], unique=False)
    op.create_table(
        "pipeline_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pipeline_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "RUNNING",
                "COMPLETED",
                "FAILED",
                "CANCELLED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column(
            "trigger_type",
            sa.Enum(
                "MANUAL",
                "SCHEDULED",
                "API",
                "WEBHOOK",
                name="trigger_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="API",
            nullable=False,
        ),
        sa.Column("triggered_by", sa.String(length=255), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("execution_time", sa.Double(), nullable=True),
        sa.Column("run_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("environment", sa.String(length=50), nullable=True),
        sa.Column("max_memory_usage", sa.Double(), nullable=True),
        sa.Column("max_cpu_usage", sa.Double(), nullable=True),
        sa.Column("success_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("output_data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("tags", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("definition", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("retry_of_id", sa.Uuid(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "finish_reason",
            sa.Enum(
                "EXITED",
                "SIGNALED",
                "CANCELLED",
                "TIMED_OUT",
                "OUT_OF_MEMORY",
                "START_FAILED",
                "LOST",
                "UPSTREAM_FAILED",
                "OUTPUT_REFUSED",
                name="finish_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("fail_fast", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("max_concurrent_stages", sa.Integer(), nullable=True),
        sa.Column("open_stage_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_event_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_sample_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (completed_at IS NOT NULL)",
            name=op.f("ck_pipeline_runs_completed_at"),
        ),
        sa.CheckConstraint(
            "open_stage_count >= 0 AND (completed_at IS NULL OR open_stage_count = 0)",
            name=op.f("ck_pipeline_runs_open_stage_count"),
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_runs_pipeline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["retry_of_id"],
            ["pipeline_runs.id"],
            name=op.f("fk_pipeline_runs_retry_of_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_runs")),
    )
    op.create_index(
        op.f("ix_pipeline_runs_pipeline_id_id"), "pipeline_runs", ["pipeline_id", "id"], unique=False
    )
    op.create_index(op.f("ix_pipeline_runs_retry_of_id"), "pipeline_runs", ["retry_of_id"], unique=False)
    op.create_index(op.f("ix_pipeline_runs_status_id"), "pipeline_runs", ["status", "id"], unique=False)
    op.create_index("ix_pipeline_runs_tags", "pipeline_runs", ["tags"], unique=False, postgresql_using="gin")
    op.create_index(op.f("ix_pipeline_runs_updated_at"), "pipeline_runs", ["updated_at"], unique=False)
    op.create_index(
        "uq_pipeline_runs_idempotency_key",
        "pipeline_runs",
        ["idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "pipeline_stages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pipeline_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column(
            "stage_type",
            sa.Enum(
                "DATA_INGESTION",
                "DATA_VALIDATION",
                "DATA_PREPROCESSING",
                "FEATURE_ENGINEERING",
                "DATA_SPLITTING",
                "MODEL_TRAINING",
                "MODEL_VALIDATION",
                "MODEL_EVALUATION",
                "MODEL_TESTING",
                "MODEL_REGISTRATION",
                "MODEL_DEPLOYMENT",
                "MODEL_MONITORING",
                "EXPLORATORY_DATA_ANALYSIS",
                "HYPERPARAMETER_TUNING",
                "MODEL_COMPARISON",
                "ENVIRONMENT_SETUP",
                "RESOURCE_PROVISIONING",
                "CLEANUP",
                "CUSTOM",
                name="stage_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("custom_name", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "RUNNING",
                "COMPLETED",
                "FAILED",
                "CANCELLED",
                "SKIPPED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("order", sa.Integer(), nullable=False),
        sa.Column("config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("dependencies", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("execution_time", sa.Double(), nullable=True),
        sa.Column("output_path", sa.String(length=500), nullable=True),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("logs", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint(
            "stage_type <> 'CUSTOM' OR custom_name IS NOT NULL", name=op.f("ck_pipeline_stages_custom_name")
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_stages_pipeline_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_stages")),
    )
    op.create_index(
        op.f("ix_pipeline_stages_pipeline_id_order_id"),
        "pipeline_stages",
        ["pipeline_id", "order", "id"],
        unique=False,
    )
    op.create_index(
        "uq_pipeline_stages_active_name",
        "pipeline_stages",
        ["pipeline_id", "name"],
        unique=True,
        postgresql_where=sa.text("is_active"),
    )
    op.create_table(
        "stage_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pipeline_run_id", sa.Uuid(), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "RUNNING",
                "COMPLETED",
                "FAILED",
                "CANCELLED",
                "SKIPPED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("attempt_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("execution_time", sa.Double(), nullable=True),
        sa.Column("memory_usage", sa.Double(), nullable=True),
        sa.Column("cpu_usage", sa.Double(), nullable=True),
        sa.Column("output_data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("logs", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "phase",
            sa.Enum(
                "blocked",
                "ready",
                "claimed",
                "running",
                "collecting",
                "final",
                name="phase",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="blocked",
            nullable=False,
        ),
        sa.Column("spec", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("depends_on", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("waiting_for", sa.Integer(), server_default="0", nullable=False),
        sa.Column("allow_failure", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column(
            "finish_reason",
            sa.Enum(
                "EXITED",
                "SIGNALED",
                "CANCELLED",
                "TIMED_OUT",
                "OUT_OF_MEMORY",
                "START_FAILED",
                "LOST",
                "UPSTREAM_FAILED",
                "OUTPUT_REFUSED",
                name="finish_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "stop_reason",
            sa.Enum(
                "EXITED",
                "SIGNALED",
                "CANCELLED",
                "TIMED_OUT",
                "OUT_OF_MEMORY",
                "START_FAILED",
                "LOST",
                "UPSTREAM_FAILED",
                "OUTPUT_REFUSED",
                name="stop_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("lost_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reused_from_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(phase = 'final') = (status IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED'))",
            name=op.f("ck_stage_runs_final_status"),
        ),
        sa.CheckConstraint(
            "phase = 'final' OR (status = 'RUNNING') = (phase IN ('running', 'collecting'))",
            name=op.f("ck_stage_runs_running_status"),
        ),
        sa.CheckConstraint("waiting_for >= 0", name=op.f("ck_stage_runs_waiting_for")),
        sa.ForeignKeyConstraint(
            ["pipeline_run_id"],
            ["pipeline_runs.id"],
            name=op.f("fk_stage_runs_pipeline_run_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["reused_from_id"],
            ["stage_runs.id"],
            name=op.f("fk_stage_runs_reused_from_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["stage_id"], ["pipeline_stages.id"], name=op.f("fk_stage_runs_stage_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name=op.f("fk_stage_runs_worker_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_runs")),
    )
    op.create_index(
        "ix_stage_runs_active",
        "stage_runs",
        ["worker_id"],
        unique=False,
        postgresql_where=sa.text("phase IN ('claimed', 'running', 'collecting')"),
    )
    op.create_index(
        op.f("ix_stage_runs_pipeline_run_id_position_id"),
        "stage_runs",
        ["pipeline_run_id", "position", "id"],
        unique=False,
    )
    op.create_index(
        "ix_stage_runs_ready",
        "stage_runs",
        ["not_before", "id"],
        unique=False,
        postgresql_where=sa.text("phase = 'ready'"),
    )
    op.create_index(op.f("ix_stage_runs_reused_from_id"), "stage_runs", ["reused_from_id"], unique=False)
    op.create_index(op.f("ix_stage_runs_stage_id_id"), "stage_runs", ["stage_id", "id"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "artifact_type",
            sa.Enum(
                "MODEL",
                "DATASET",
                "METRICS",
                "PLOT",
                "LOG",
                "CONFIG",
                "REPORT",
                "OTHER",
                name="artifact_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "PENDING",
                "READY",
                "FAILED",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="PENDING",
            nullable=False,
        ),
        sa.Column("file_path", sa.String(length=1000), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column(
            "storage_type",
            sa.Enum(
                "LOCAL",
                "S3",
                "GCS",
                "AZURE",
                name="storage_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="LOCAL",
            nullable=False,
        ),
        sa.Column(
            "storage_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("stage_run_id", sa.Uuid(), nullable=False),
        sa.Column(
            "artifact_metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("relative_path", sa.String(length=1000), nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("is_captured_log", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.String(length=255), nullable=True),
        sa.CheckConstraint("file_size >= 0", name=op.f("ck_artifacts_file_size")),
        sa.ForeignKeyConstraint(
            ["sha256"], ["blobs.sha256"], name=op.f("fk_artifacts_sha256"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["stage_id"], ["pipeline_stages.id"], name=op.f("fk_artifacts_stage_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["stage_run_id"], ["stage_runs.id"], name=op.f("fk_artifacts_stage_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint(
            "stage_run_id",
            "attempt_number",
            "is_captured_log",
            "relative_path",
            name=op.f("uq_artifacts_stage_run_id_attempt_number_is_captured_log_relative_path"),
        ),
    )
    op.create_index(op.f("ix_artifacts_artifact_type_id"), "artifacts", ["artifact_type", "id"], unique=False)
    op.create_index(op.f("ix_artifacts_sha256"), "artifacts", ["sha256"], unique=False)
    op.create_index(op.f("ix_artifacts_stage_id_id"), "artifacts", ["stage_id", "id"], unique=False)
    op.create_index(op.f("ix_artifacts_stage_run_id_id"), "artifacts", ["stage_run_id", "id"], unique=False)
    op.create_table(
        "metric_points",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stage_run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["stage_run_id"],
            ["stage_runs.id"],
            name=op.f("fk_metric_points_stage_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_points")),
    )
    op.create_index(
        op.f("ix_metric_points_stage_run_id_name_step"),
        "metric_points",
        ["stage_run_id", "name", "step"],
        unique=False,
    )
    op.create_table(
        "resource_samples",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage_run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cpu_percent", sa.Double(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("process_count", sa.Integer(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=True),
        sa.Column("write_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["pipeline_runs.id"], name=op.f("fk_resource_samples_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["stage_run_id"],
            ["stage_runs.id"],
            name=op.f("fk_resource_samples_stage_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_resource_samples")),
    )
    op.create_index(
        op.f("ix_resource_samples_stage_run_id_at"), "resource_samples", ["stage_run_id", "at"], unique=False
    )
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "RUN_QUEUED",
                "RUN_STARTED",
                "RUN_CANCEL_REQUESTED",
                "RUN_FINISHED",
                "STAGE_READIED",
                "STAGE_CLAIMED",
                "STAGE_STARTED",
                "STAGE_STOP_REQUESTED",
                "STAGE_COLLECTING",
                "STAGE_RETRY_SCHEDULED",
                "STAGE_FINISHED",
                "ARTIFACT_STORED",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("stage_run_id", sa.Uuid(), nullable=True),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["pipeline_runs.id"], name=op.f("fk_run_events_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["stage_run_id"], ["stage_runs.id"], name=op.f("fk_run_events_stage_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_events")),
    )
    op.create_index(op.f("ix_run_events_stage_run_id"), "run_events", ["stage_run_id"], unique=False)
    op.create_table(
        "stage_attempts",
        sa.Column("stage_run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("host_id", sa.Uuid(), nullable=False),
        sa.Column("executor", sa.String(length=20), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "finish_reason",
            sa.Enum(
                "EXITED",
                "SIGNALED",
                "CANCELLED",
                "TIMED_OUT",
                "OUT_OF_MEMORY",
                "START_FAILED",
                "LOST",
                "UPSTREAM_FAILED",
                "OUTPUT_REFUSED",
                name="finish_reason",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("peak_cpu_percent", sa.Double(), nullable=True),
        sa.Column("cpu_seconds", sa.Double(), nullable=True),
        sa.Column("log_bytes", sa.BigInteger(), nullable=True),
        sa.Column("log_dropped_bytes", sa.BigInteger(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("journal_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("metrics_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["stage_run_id"],
            ["stage_runs.id"],
            name=op.f("fk_stage_attempts_stage_run_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name=op.f("fk_stage_attempts_worker_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("stage_run_id", "attempt", name=op.f("pk_stage_attempts")),
    )
    op.create_index(op.f("ix_stage_attempts_worker_id"), "stage_attempts", ["worker_id"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("format", sa.String(length=50), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=True),
        sa.Column("column_count", sa.Integer(), nullable=True),
        sa.Column("schema", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_datasets_artifact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("artifact_id", name=op.f("uq_datasets_artifact_id")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("model_type", sa.String(length=100), nullable=False),
        sa.Column("algorithm", sa.String(length=100), nullable=False),
        sa.Column("framework", sa.String(length=100), nullable=False),
        sa.Column("model_format", sa.String(length=50), nullable=False),
        sa.Column("training_dataset_id", sa.Uuid(), nullable=True),
        sa.Column(
            "training_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_models_artifact_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["training_dataset_id"],
            ["datasets.id"],
            name=op.f("fk_models_training_dataset_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("artifact_id", name=op.f("uq_models_artifact_id")),
    )
    op.create_index(
        op.f("ix_models_training_dataset_id_id"), "models", ["training_dataset_id", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_models_training_dataset_id_id"), table_name="models")
    op.drop_table("models")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_stage_attempts_worker_id"), table_name="stage_attempts")
    op.drop_table("stage_attempts")
    op.drop_index(op.f("ix_run_events_stage_run_id"), table_name="run_events")
    op.drop_table("run_events")
    op.drop_index(op.f("ix_resource_samples_stage_run_id_at"), table_name="resource_samples")
    op.drop_table("resource_samples")
    op.drop_index(op.f("ix_metric_points_stage_run_id_name_step"), table_name="metric_points")
    op.drop_table("metric_points")
    op.drop_index(op.f("ix_artifacts_stage_run_id_id"), table_name="artifacts")
    op.drop_index(op.f("ix_artifacts_stage_id_id"), table_name="artifacts")
    op.drop_index(op.f("ix_artifacts_sha256"), table_name="artifacts")
    op.drop_index(op.f("ix_artifacts_artifact_type_id"), table_name="artifacts")
    op.drop_table("artifacts")
    op.drop_index(op.f("ix_stage_runs_stage_id_id"), table_name="stage_runs")
    op.drop_index(op.f("ix_stage_runs_reused_from_id"), table_name="stage_runs")
    op.drop_index("ix_stage_runs_ready", table_name="stage_runs", postgresql_where=sa.text("phase = 'ready'"))
    op.drop_index(op.f("ix_stage_runs_pipeline_run_id_position_id"), table_name="stage_runs")
    op.drop_index(
        "ix_stage_runs_active",
        table_name="stage_runs",
        postgresql_where=sa.text("phase IN ('claimed', 'running', 'collecting')"),
    )
    op.drop_table("stage_runs")
    op.drop_index(
        "uq_pipeline_stages_active_name", table_name="pipeline_stages", postgresql_where=sa.text("is_active")
    )
    op.drop_index(op.f("ix_pipeline_stages_pipeline_id_order_id"), table_name="pipeline_stages")
    op.drop_table("pipeline_stages")
    op.drop_index(
        "uq_pipeline_runs_idempotency_key",
        table_name="pipeline_runs",
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.drop_index(op.f("ix_pipeline_runs_updated_at"), table_name="pipeline_runs")
    op.drop_index("ix_pipeline_runs_tags", table_name="pipeline_runs", postgresql_using="gin")
    op.drop_index(op.f("ix_pipeline_runs_status_id"), table_name="pipeline_runs")
    op.drop_index(op.f("ix_pipeline_runs_retry_of_id"), table_name="pipeline_runs")
    op.drop_index(op.f("ix_pipeline_runs_pipeline_id_id"), table_name="pipeline_runs")
    op.drop_table("pipeline_runs")
    op.drop_index(op.f("ix_workers_lease_until"), table_name="workers")
    op.drop_index(op.f("ix_workers_host_id"), table_name="workers")
    op.drop_table("workers")
    op.drop_index(op.f("ix_pipelines_status_id"), table_name="pipelines")
    op.drop_index(op.f("ix_pipelines_name_id"), table_name="pipelines")
    op.drop_table("pipelines")
    op.drop_table("blobs")
