"""Triggers: they hold for every writer of the database, whatever program it is.

- ``STATUS_GUARD`` refuses every illegal move of a run or a stage run. The test of the move is part of the trigger's
  WHEN clause, so the function is called for illegal moves only, and only raises. AFTER UPDATE, because a BEFORE trigger
  would make PostgreSQL lock each row once more.
- ``DELETED_RUNS_RECORD`` inserts a row into ``deleted_runs`` for every deleted run, so that ``runsChanged`` reports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES

_REFUSE = """\
CREATE FUNCTION refuse_status_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'illegal move of % %: % -> %', TG_TABLE_NAME, OLD.id,
        concat_ws(' ', to_jsonb(OLD) ->> 'phase', OLD.status),
        concat_ws(' ', to_jsonb(NEW) ->> 'phase', NEW.status)
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$"""

# ON CONFLICT: a run that was restored from a backup may be deleted a second time.
# The default of deleted_at is clock_timestamp(), not now(): the transaction may have waited for locks since it began,
# and a reader that looks back a few seconds would miss a deletion dated to that beginning.
_RECORD_DELETED_RUNS = """\
CREATE FUNCTION note_deleted_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_runs (run_id, pipeline_id) SELECT id, pipeline_id FROM gone
        ON CONFLICT (run_id) DO UPDATE SET deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$"""

# FOR EACH STATEMENT: one call, however many runs a statement deletes.
_AFTER_DELETE = """\
CREATE TRIGGER note_deleted_runs AFTER DELETE ON pipeline_runs
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_runs()"""


def _legal(moves: Mapping[Any, frozenset[Any]]) -> str:
    """``'{A>B,A>C}'``: the legal moves as one array constant, in the order of the vocabulary.

    PostgreSQL parses the WHEN clause for every statement. One constant parses much faster than a list of pairs, which
    took half as long as the update itself.
    """
    order = list(moves)
    legal = [f"{before}>{after}" for before in order for after in order if after in moves[before]]
    return f"'{{{','.join(legal)}}}'::text[]"


def _trigger(name: str, table: str, columns: str, is_illegal: str) -> str:
    return (
        f"CREATE TRIGGER {name} AFTER UPDATE OF {columns} ON {table} FOR EACH ROW\n"
        f"WHEN ({is_illegal})\nEXECUTE FUNCTION refuse_status_change()"
    )


STATUS_GUARD = (
    _REFUSE,
    _trigger(
        "legal_run_move",
        "pipeline_runs",
        "status",
        f"OLD.status <> NEW.status\nAND OLD.status || '>' || NEW.status <> ALL ({_legal(LEGAL_RUN_MOVES)})",
    ),
    # The status is compared too, because a final stage run has one of several: no legal move leads from final to final,
    # so a final stage run can't change its status either. Every other phase has exactly one status.
    _trigger(
        "legal_stage_move",
        "stage_runs",
        "phase, status",
        "(OLD.phase, OLD.status) <> (NEW.phase, NEW.status)\n"
        f"AND OLD.phase || '>' || NEW.phase <> ALL ({_legal(LEGAL_STAGE_MOVES)})",
    ),
)

DELETED_RUNS_RECORD = (_RECORD_DELETED_RUNS, _AFTER_DELETE)
