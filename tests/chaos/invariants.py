"""What must hold after any faults, besides the checks of the ledger and the events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from app.domain.events import EventKind
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import RunStatus, StageStatus
from app.storage.base import blob_key
from tests.chaos.client import Promises
from tests.chaos.evidence import Evidence, Row
from tests.chaos.stage_program import OUTPUT


def unkept(promises: Promises, evidence: Evidence) -> Iterator[str]:
    """Acknowledged requests whose effect is not in the rows."""
    yield from promises.broken
    if promises.unanswered:
        yield f"{promises.unanswered} requests were never answered"
    known = {row.idempotency_key: row.id for row in evidence.runs.values()}
    for key, run_id in promises.runs.items():
        if known.get(key) != run_id:
            yield f"run {run_id} of key {key} was acknowledged and is lost"
    if unknown := known.keys() - promises.runs.keys():
        yield f"no client asked for the runs {unknown}"
    for run_id in promises.cancelled:
        kinds = [event.kind for event in evidence.events[run_id]]
        if evidence.runs[run_id].cancel_requested_at is None or EventKind.RUN_CANCEL_REQUESTED not in kinds:
            yield f"the cancel of run {run_id} was acknowledged and is lost"


def unfinished(evidence: Evidence) -> Iterator[str]:
    for run in evidence.runs.values():
        if run.status not in RUN_FINAL:
            stages = [
                f"{row.name} {row.phase} attempt {row.attempt_number}" for row in evidence.stages_of(run.id)
            ]
            yield f"run {run.id} is still {run.status}: {'; '.join(stages)}"


def miscounted(evidence: Evidence) -> Iterator[str]:
    """Counters that differ from the rows they count, and mirrored columns that differ from their source."""
    for run in evidence.runs.values():
        stages = evidence.stages_of(run.id)
        counted = tuple(
            sum(row.status is status for row in stages)
            for status in (StageStatus.COMPLETED, StageStatus.FAILED)
        )
        if (run.success_count, run.failed_count) != counted:
            yield f"run {run.id} counts {run.success_count} and {run.failed_count}, its stages are {counted}"
        yield from _outcome(run, stages)
    latest = {run.pipeline_id: run for run in sorted(evidence.runs.values(), key=lambda run: run.id)}
    for pipeline in evidence.pipelines:
        run = latest.get(pipeline.id)
        if run is not None and _shown(pipeline) != _shown(run):
            yield f"pipeline {pipeline.name} shows {_shown(pipeline)}, its latest run is {_shown(run)}"
    shown = {row.stage_id: row for run in latest.values() for row in evidence.stages_of(run.id)}
    for stage in evidence.pipeline_stages:
        row = shown.get(stage.id)
        if row is not None and _shown(stage) != _shown(row):
            yield f"stage {stage.name} shows {_shown(stage)}, its latest run is {_shown(row)}"


def _shown(row: Row) -> tuple[object, ...]:
    return row.status, row.started_at, row.completed_at, row.execution_time


def _outcome(run: Row, stages: list[Row]) -> Iterator[str]:
    """A run is FAILED exactly if a stage without allowFailure is, and CANCELLED only after a request."""
    failed = any(row.status is StageStatus.FAILED and not row.allow_failure for row in stages)
    if run.status in RUN_FINAL and (run.status is RunStatus.FAILED) != failed:
        yield f"run {run.id} is {run.status}, its stages are {[str(row.status) for row in stages]}"
    if run.status is RunStatus.CANCELLED and run.cancel_requested_at is None:
        yield f"run {run.id} is CANCELLED without a request"


def mispublished(evidence: Evidence, store: Path) -> Iterator[str]:
    """A completed stage has the complete output of its last attempt; any other stage has none."""
    for stage in evidence.stages.values():
        outputs = [row for row in evidence.artifacts.get(stage.id, []) if not row.is_captured_log]
        found = [(row.relative_path, row.attempt_number) for row in outputs]
        is_completed = stage.status is StageStatus.COMPLETED
        if found != ([(OUTPUT, stage.attempt_number)] if is_completed else []):
            yield f"stage {stage.id} is {stage.status} and has the outputs {found}"
        for row in outputs:
            expected = f"{stage.id}.{stage.attempt_number}".encode()
            path = store / blob_key(hashlib.sha256(expected).hexdigest())
            if not path.is_file() or path.read_bytes() != expected or row.file_path != blob_key(row.sha256):
                yield f"the output of stage {stage.id} is not what its attempt wrote"
