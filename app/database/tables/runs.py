"""Tables of runs and their stage runs."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from app.database.columns import choice, id_column, instant, json_column, one_of, reference, timestamps
from app.database.tables.metadata import metadata
from app.domain.moves import ACTIVE_PHASES, RUN_ACTIVE
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus, TriggerType

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
        postgresql_where=sa.text(f"status IN {one_of(RUN_ACTIVE)} AND concurrency_key IS NOT NULL"),
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
        postgresql_where=sa.text(f"phase IN {one_of(ACTIVE_PHASES)}"),
    ),
    sa.Index(None, "reused_from_id"),
    sa.Index("ix_stage_runs_depends_on", "depends_on", postgresql_using="gin"),
    sa.Index(
        "ix_stage_runs_cache_key",
        "stage_id",
        "cache_key",
        "id",
        postgresql_where=sa.text("cache_key IS NOT NULL"),
    ),
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
