"""Whether the events of a run are a possible sequence, without a gap, from its start to its end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.events import EventKind
from app.domain.moves import RUN_FINAL, STAGE_FINAL
from tests.chaos.evidence import Evidence, Row

BEFORE: dict[EventKind, frozenset[str]] = {
    EventKind.STAGE_READIED: frozenset({"waiting"}),
    EventKind.STAGE_CLAIMED: frozenset({"waiting", "ready"}),
    EventKind.STAGE_STARTED: frozenset({"claimed"}),
    EventKind.STAGE_STOP_REQUESTED: frozenset({"claimed", "running", "collecting"}),
    EventKind.STAGE_COLLECTING: frozenset({"claimed", "running"}),
    EventKind.STAGE_RETRY_SCHEDULED: frozenset({"claimed", "running", "collecting"}),
    EventKind.STAGE_FINISHED: frozenset({"waiting", "ready", "claimed", "running", "collecting"}),
    EventKind.ARTIFACT_STORED: frozenset({"claimed", "running", "collecting"}),
}
"""The states of a stage in which an event may come."""

AFTER = {
    EventKind.STAGE_READIED: "ready",
    EventKind.STAGE_CLAIMED: "claimed",
    EventKind.STAGE_STARTED: "running",
    EventKind.STAGE_COLLECTING: "collecting",
    EventKind.STAGE_RETRY_SCHEDULED: "ready",
    EventKind.STAGE_FINISHED: "final",
}
"""The state after the event, for events that change it."""


@dataclass
class Stage:
    """One stage run, as its events describe it so far."""

    state: str = "waiting"
    status: str = "PENDING"
    attempt: int = 0
    is_stopped: bool = False


def illegal(evidence: Evidence) -> Iterator[str]:
    """Descriptions of events that were impossible when they came."""
    for run_id, run in evidence.runs.items():
        events = evidence.events.get(run_id, [])
        numbers = [event.seq for event in events]
        if numbers != list(range(1, run.last_event_seq + 1)):
            yield f"the events of run {run_id} have gaps: {numbers}"
        yield from (f"run {run_id}: {problem}" for problem in _Sequence(events).problems())
        yield from _ends(run, evidence.stages_of(run_id), events)


def _ends(run: Row, stages: Sequence[Row], events: Sequence[Row]) -> Iterator[str]:
    """The last statuses in the events are those of the rows."""
    said = {
        event.stage_run_id: event.payload["status"]
        for event in events
        if event.kind == EventKind.STAGE_FINISHED
    }
    for stage in stages:
        if stage.status in STAGE_FINAL and said.get(stage.id) != stage.status:
            yield f"stage {stage.id} is {stage.status}, its events say {said.get(stage.id)}"
    if run.status in RUN_FINAL and events and events[-1].payload["status"] != run.status:
        yield f"run {run.id} is {run.status}, its last event says {events[-1].payload['status']}"


class _Sequence:
    """Checks the events of one run in their order."""

    def __init__(self, events: Sequence[Row]) -> None:
        self._events = events
        self._stages: dict[uuid.UUID, Stage] = {}
        self._run_status = ""
        self._is_cancelled = False

    def problems(self) -> Iterator[str]:
        for event in self._events:
            if event.stage_run_id is None:
                problem = self._run_event(event)
            else:
                problem = self._stage_event(event, self._stages.setdefault(event.stage_run_id, Stage()))
            if problem:
                yield f"event {event.seq} {event.kind} {event.payload}: {problem}"

    def _run_event(self, event: Row) -> str | None:
        before, self._run_status = self._run_status, event.payload["status"]
        if event.payload.get("previousStatus", before) != before:
            return f"the run was {before}"
        match event.kind:
            case EventKind.RUN_QUEUED:
                return None if not before else "queued again"
            case EventKind.RUN_STARTED:
                return None if before == "PENDING" and not self._is_cancelled else "must not start"
            case EventKind.RUN_CANCEL_REQUESTED:
                was_cancelled, self._is_cancelled = self._is_cancelled, True
                return "cancelled again" if was_cancelled else None
            case EventKind.RUN_FINISHED:
                left = [id_ for id_, stage in self._stages.items() if stage.state != "final"]
                return f"these stages are not final: {left}" if left else None
        return "unknown"

    def _stage_event(self, event: Row, stage: Stage) -> str | None:
        kind = EventKind(event.kind)
        if self._run_status not in ("PENDING", "RUNNING"):
            return "after the end of the run"
        if stage.state not in BEFORE[kind]:
            return f"the stage was {stage.state}"
        if event.payload.get("previousStatus", stage.status) != stage.status:
            return f"the stage was {stage.status}"
        expected = stage.attempt + (kind is EventKind.STAGE_CLAIMED)
        if event.payload.get("attempt", expected) != expected:
            return f"the attempt is {expected}"
        begins_anew = kind in (EventKind.STAGE_CLAIMED, EventKind.STAGE_RETRY_SCHEDULED)
        if begins_anew and (self._is_cancelled or stage.is_stopped):
            return "it was to end"
        stage.is_stopped |= kind is EventKind.STAGE_STOP_REQUESTED
        stage.attempt = expected
        stage.state = AFTER.get(kind, stage.state)
        stage.status = event.payload.get("status", stage.status)
        return None
