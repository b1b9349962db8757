"""Record deleted runs for a while, so that runsChanged can report them

Revision: 0009
Follows: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

_NOTE = """\
CREATE FUNCTION note_deleted_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_runs (run_id, pipeline_id) SELECT id, pipeline_id FROM gone
        ON CONFLICT (run_id) DO UPDATE SET deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$"""

_AFTER_DELETE = """\
CREATE TRIGGER note_deleted_runs AFTER DELETE ON pipeline_runs
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_runs()"""


def upgrade() -> None:
    op.create_table(
        "deleted_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("pipeline_id", sa.Uuid(), nullable=False),
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("run_id", name="pk_deleted_runs"),
    )
    op.create_index("ix_deleted_runs_deleted_at", "deleted_runs", ["deleted_at"])
    for statement in (_NOTE, _AFTER_DELETE):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER note_deleted_runs ON pipeline_runs")
    op.execute("DROP FUNCTION note_deleted_runs()")
    op.drop_table("deleted_runs")
