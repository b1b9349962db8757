"""Support several hosts: resources of workers and stages, limits and order of the queue

Revision: 0002
Follows: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0005"
branch_labels = None
depends_on = None

_ACTIVE_KEY = sa.text("status IN ('PENDING', 'RUNNING') AND concurrency_key IS NOT NULL")


def upgrade() -> None:
    op.add_column("pipeline_runs", sa.Column("max_concurrent_runs", sa.Integer()))
    op.add_column("pipeline_runs", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("pipeline_runs", sa.Column("queue_deadline_at", sa.DateTime(timezone=True)))
    op.add_column("pipeline_runs", sa.Column("concurrency_key", sa.String(length=255)))
    op.create_index(
        "ix_pipeline_runs_active_concurrency_key",
        "pipeline_runs",
        ["concurrency_key"],
        postgresql_where=_ACTIVE_KEY,
    )
    op.add_column("stage_runs", sa.Column("cpus", sa.Double(), server_default="1", nullable=False))
    op.add_column("stage_runs", sa.Column("memory_mb", sa.Integer()))
    op.add_column("workers", sa.Column("cpus", sa.Double(), server_default="1", nullable=False))
    op.alter_column("workers", "cpus", server_default=None)
    op.add_column("workers", sa.Column("memory_mb", sa.Integer()))


def downgrade() -> None:
    op.drop_column("workers", "memory_mb")
    op.drop_column("workers", "cpus")
    op.drop_column("stage_runs", "memory_mb")
    op.drop_column("stage_runs", "cpus")
    op.drop_index(
        "ix_pipeline_runs_active_concurrency_key", table_name="pipeline_runs", postgresql_where=_ACTIVE_KEY
    )
    op.drop_column("pipeline_runs", "concurrency_key")
    op.drop_column("pipeline_runs", "queue_deadline_at")
    op.drop_column("pipeline_runs", "priority")
    op.drop_column("pipeline_runs", "max_concurrent_runs")
