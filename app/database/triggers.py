"""The legal moves as triggers: whatever writes to the database, no row leaves the way the domain allows.

The tests of the pairs are part of the triggers' WHEN clauses, so a legal move never enters the function: it only
raises. They run AFTER the update, as BEFORE would make PostgreSQL lock each row once more.
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


def _legal(moves: Mapping[Any, frozenset[Any]]) -> str:
    """``'{A>B,A>C}'``: the moves that may be made, in the order of the vocabulary.

    One constant: PostgreSQL reads the clause anew for every statement, and a list of pairs takes it half as long as
    the update itself.
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
    # Of one phase there is one status, but for the final phase: that one's must not change any more.
    _trigger(
        "legal_stage_move",
        "stage_runs",
        "phase, status",
        "(OLD.phase, OLD.status) <> (NEW.phase, NEW.status)\n"
        f"AND OLD.phase || '>' || NEW.phase <> ALL ({_legal(LEGAL_STAGE_MOVES)})",
    ),
)
"""Statements that make the triggers, once the tables are there."""
