"""Cache the results of stages: keys of executions, and the reasons of cache misses

Revision: 0007
Follows: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0008"
branch_labels = None
depends_on = None

_HAS_KEY = sa.text("cache_key IS NOT NULL")


def upgrade() -> None:
    op.add_column("stage_runs", sa.Column("cache_key", sa.String(length=64)))
    op.add_column("stage_runs", sa.Column("cache_parts", postgresql.JSONB(astext_type=sa.Text())))
    op.add_column("stage_runs", sa.Column("cache_miss", postgresql.JSONB(astext_type=sa.Text())))
    op.add_column(
        "stage_runs", sa.Column("cache_hit", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        "ix_stage_runs_cache_key",
        "stage_runs",
        ["stage_id", "cache_key", "id"],
        postgresql_where=_HAS_KEY,
    )


def downgrade() -> None:
    op.drop_index("ix_stage_runs_cache_key", table_name="stage_runs", postgresql_where=_HAS_KEY)
    op.drop_column("stage_runs", "cache_hit")
    op.drop_column("stage_runs", "cache_miss")
    op.drop_column("stage_runs", "cache_parts")
    op.drop_column("stage_runs", "cache_key")
