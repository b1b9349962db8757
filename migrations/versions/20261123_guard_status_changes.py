"""Guard status changes by triggers; add the actor of each end, and the last lines of the log of each attempt

Revision: 0008
Follows: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

_REFUSE = """\
CREATE FUNCTION refuse_status_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'illegal move of % %: % -> %', TG_TABLE_NAME, OLD.id,
        concat_ws(' ', to_jsonb(OLD) ->> 'phase', OLD.status),
        concat_ws(' ', to_jsonb(NEW) ->> 'phase', NEW.status)
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$"""

_RUN_MOVES = """\
CREATE TRIGGER legal_run_move AFTER UPDATE OF status ON pipeline_runs FOR EACH ROW
WHEN (OLD.status <> NEW.status AND OLD.status || '>' || NEW.status <> ALL (
    '{PENDING>RUNNING,PENDING>FAILED,PENDING>CANCELLED,RUNNING>COMPLETED,RUNNING>FAILED,RUNNING>CANCELLED}'::text[]
))
EXECUTE FUNCTION refuse_status_change()"""

_STAGE_MOVES = """\
CREATE TRIGGER legal_stage_move AFTER UPDATE OF phase, status ON stage_runs FOR EACH ROW
WHEN ((OLD.phase, OLD.status) <> (NEW.phase, NEW.status) AND OLD.phase || '>' || NEW.phase <> ALL (
    '{blocked>ready,blocked>final,ready>claimed,ready>final,claimed>ready,claimed>running,claimed>collecting,'
    'claimed>final,running>ready,running>collecting,running>final,collecting>ready,collecting>final}'::text[]
))
EXECUTE FUNCTION refuse_status_change()"""


def upgrade() -> None:
    op.add_column("pipeline_runs", sa.Column("cancel_actor", sa.String(length=255)))
    op.add_column("stage_runs", sa.Column("stop_actor", sa.String(length=255)))
    op.add_column("stage_runs", sa.Column("stop_cause", sa.Text()))
    op.add_column("stage_attempts", sa.Column("log_tail", sa.Text()))
    op.add_column("stage_attempts", sa.Column("wall_seconds", sa.Double()))
    for statement in (_REFUSE, _RUN_MOVES, _STAGE_MOVES):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER legal_stage_move ON stage_runs")
    op.execute("DROP TRIGGER legal_run_move ON pipeline_runs")
    op.execute("DROP FUNCTION refuse_status_change()")
    op.drop_column("stage_attempts", "wall_seconds")
    op.drop_column("stage_attempts", "log_tail")
    op.drop_column("stage_runs", "stop_cause")
    op.drop_column("stage_runs", "stop_actor")
    op.drop_column("pipeline_runs", "cancel_actor")
