"""Index what stage runs depend on, so that the readers of a stage run are found at once

Revision: 0010
Follows: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_stage_runs_depends_on", "stage_runs", ["depends_on"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_stage_runs_depends_on", table_name="stage_runs")
