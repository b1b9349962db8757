"""Number the metric points of each run

Revision: 0005
Follows: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0001"
branch_labels = None
depends_on = None

_RUNS_OF_POINTS = """
    UPDATE metric_points SET run_id = numbered.run_id, seq = numbered.seq
    FROM (
        SELECT point.id, stage_run.pipeline_run_id AS run_id,
               row_number() OVER (PARTITION BY stage_run.pipeline_run_id ORDER BY point.id) AS seq
        FROM metric_points point JOIN stage_runs stage_run ON stage_run.id = point.stage_run_id
    ) AS numbered
    WHERE metric_points.id = numbered.id
"""
_LAST_NUMBERS = """
    UPDATE pipeline_runs SET last_metric_seq = last.seq
    FROM (SELECT run_id, max(seq) AS seq FROM metric_points GROUP BY run_id) AS last
    WHERE pipeline_runs.id = last.run_id
"""


def upgrade() -> None:
    op.add_column(
        "pipeline_runs", sa.Column("last_metric_seq", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("metric_points", sa.Column("run_id", sa.Uuid()))
    op.add_column("metric_points", sa.Column("seq", sa.BigInteger()))
    op.execute(_RUNS_OF_POINTS)
    op.execute(_LAST_NUMBERS)
    op.drop_column("metric_points", "id")
    op.create_primary_key("pk_metric_points", "metric_points", ["run_id", "seq"])
    op.create_foreign_key(
        "fk_metric_points_run_id", "metric_points", "pipeline_runs", ["run_id"], ["id"], ondelete="CASCADE"
    )


def downgrade() -> None:
    op.drop_constraint("pk_metric_points", "metric_points")
    op.drop_column("metric_points", "seq")
    op.drop_column("metric_points", "run_id")
    op.add_column("metric_points", sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False))
    op.create_primary_key("pk_metric_points", "metric_points", ["id"])
    op.drop_column("pipeline_runs", "last_metric_seq")
