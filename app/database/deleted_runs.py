"""The record of deleted runs, kept by a trigger: whatever deletes a run, those who follow the runs are told of it.

One call per statement, however many runs it deletes. ``deleted_at`` is the time within the transaction, not its
beginning: so a deletion which first had to wait for locks is not noted as an old one.
"""

from __future__ import annotations

# A run may be deleted twice if somebody brings it back from a backup in between.
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

DELETED_RUNS_RECORD = (_NOTE, _AFTER_DELETE)
"""Statements that make the trigger, once the tables are there."""
