"""Tables of pipelines, and of what starts their runs: schedules and webhooks."""

from __future__ import annotations

import sqlalchemy as sa

from app.database.columns import choice, id_column, instant, json_column, reference, timestamps
from app.database.tables.metadata import metadata
from app.domain.vocabulary import MissedPolicy, RunStatus, StageStatus, StageType

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
