"""Tables of attempts, of what is recorded of a run while it executes, and of the workers that execute it."""

from __future__ import annotations

import sqlalchemy as sa

from app.database.columns import choice, id_column, instant, json_column, reference, timestamps
from app.database.tables.metadata import metadata
from app.domain.events import EventKind
from app.domain.vocabulary import FinishReason

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
