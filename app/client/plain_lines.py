"""Progress for files and pipes: one line per change of a status."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from app.client.progress import RunProgress, StageProgress, failure_of
from app.client.wording import clock, duration, megabytes, printable
from app.domain.events import EventKind


class PlainLines:
    """Prints a line for each event that changes a status."""

    def __init__(self, console: Console, progress: RunProgress) -> None:
        self._console = console
        self._progress = progress

    def print_event(self, event: Mapping[str, Any]) -> None:
        """The ``on_event`` of a ``RunFollower``."""
        kind = EventKind(event["kind"])
        if "stageRunId" in event:
            stage = self._progress.stages[event["stageRunId"]]
            name, text = stage.name, _stage_text(kind, event, stage)
        else:
            name, text = self._progress.pipeline_name, _run_text(kind, event, self._progress)
        if text:
            at = clock(dt.datetime.fromisoformat(event["at"]))
            line = f"{at} {printable(name)}: {printable(text)}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _run_text(kind: EventKind, event: Mapping[str, Any], progress: RunProgress) -> str:
    match kind:
        case EventKind.RUN_CANCEL_REQUESTED:
            return "cancelling"
        case EventKind.RUN_FINISHED:
            reason = f": {progress.error_message}" if progress.error_message else ""
            return f"{event['runStatus']} after {duration(progress.seconds)}{reason}"
        case EventKind.RUN_QUEUED | EventKind.RUN_STARTED:
            return str(event["runStatus"])
    return ""


def _stage_text(kind: EventKind, event: Mapping[str, Any], stage: StageProgress) -> str:
    match kind:
        case EventKind.STAGE_STARTED:
            return "RUNNING" if stage.attempt <= 1 else f"RUNNING (attempt {stage.attempt})"
        case EventKind.STAGE_RETRY_SCHEDULED:
            wait = f" in {duration(event['waitSeconds'])}" if event["waitSeconds"] else ""
            return f"attempt {stage.attempt} failed ({failure_of(event)}), retrying{wait}"
        case EventKind.STAGE_STOP_REQUESTED:
            return "stopping"
        case EventKind.STAGE_FINISHED:
            details = (duration(stage.seconds), megabytes(stage.memory_mb), stage.note)
            return ", ".join((str(event["stageStatus"]), *filter(None, details)))
    return ""
