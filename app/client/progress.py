"""The state of a run that is followed: its stages with their status, times, resources and last log line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.comparison import number
from app.domain.events import EventKind
from app.domain.moves import RUN_FINAL
from app.domain.vocabulary import RunStatus, StageStatus

Json = Mapping[str, Any]


@dataclass
class StageProgress:
    """A stage run. ``depth``: the length of the longest chain of dependencies; CPU in percent of one core."""

    id: str
    name: str
    depth: int
    status: StageStatus
    attempt: int = 0
    started_at: dt.datetime | None = None
    seconds: float | None = None
    cpu_percent: float | None = None
    memory_mb: float | None = None
    note: str = ""

    def seconds_at(self, now: dt.datetime) -> float | None:
        """The time since its start, or the whole time of a stage that has ended."""
        if self.status is StageStatus.RUNNING and self.started_at is not None:
            return max(0.0, (now - self.started_at).total_seconds())
        return self.seconds


@dataclass
class RunProgress:
    """A run with its stages in order; ``cursor`` and ``samples_cursor`` are the positions in its streams."""

    id: str
    pipeline_name: str
    status: RunStatus
    stages: dict[str, StageProgress]
    started_at: dt.datetime | None = None
    seconds: float | None = None
    error_message: str | None = None
    cursor: str | None = None
    samples_cursor: str | None = None
    cancel_requested: bool = False

    @classmethod
    def of(cls, run: Json) -> RunProgress:
        """The progress of a run, from an answer to ``documents.RUN``."""
        return cls(
            id=run["id"],
            pipeline_name=run["pipeline"]["name"],
            status=RunStatus(run["status"]),
            stages=_stages(run["stageRuns"]),
            started_at=_time(run["startedAt"]),
            seconds=run["executionTime"],
            error_message=run["errorMessage"],
        )

    def replace_by(self, run: Json) -> None:
        """Replace everything by the present state of the run."""
        now = RunProgress.of(run)
        self.status, self.stages = now.status, now.stages
        self.started_at, self.seconds, self.error_message = now.started_at, now.seconds, now.error_message

    @property
    def is_final(self) -> bool:
        return self.status in RUN_FINAL

    def running(self) -> list[StageProgress]:
        """The stages that are RUNNING."""
        return [stage for stage in self.stages.values() if stage.status is StageStatus.RUNNING]

    def count(self, *statuses: StageStatus) -> int:
        """The number of stages with one of the statuses."""
        return sum(stage.status in statuses for stage in self.stages.values())

    def apply_event(self, event: Json) -> None:
        """Apply an event of ``documents.RUN_EVENTS``."""
        kind = EventKind(event["kind"])
        if "stageStatus" in event:
            self._apply_to_stage(self.stages[event["stageRunId"]], kind, event)
        elif "runStatus" in event:
            self._apply_to_run(kind, event)

    def apply_samples(self, samples: Sequence[Json]) -> None:
        """Apply samples of ``documents.RESOURCE_SAMPLES``."""
        for sample in samples:
            stage = self.stages[sample["stageRunId"]]
            stage.memory_mb = max(stage.memory_mb or 0.0, sample["memoryMb"])
            if stage.status is StageStatus.RUNNING:
                stage.cpu_percent = sample["cpuPercent"]

    def _apply_to_run(self, kind: EventKind, event: Json) -> None:
        self.status = RunStatus(event["runStatus"])
        if kind is EventKind.RUN_STARTED:
            self.started_at = _time(event["at"])
        elif kind is EventKind.RUN_CANCEL_REQUESTED:
            self.cancel_requested = True
        elif kind is EventKind.RUN_FINISHED:
            self.seconds = event["run"]["executionTime"]
            self.error_message = event["errorMessage"]

    def _apply_to_stage(self, stage: StageProgress, kind: EventKind, event: Json) -> None:
        stage.status = StageStatus(event["stageStatus"])
        stage.attempt = event["attempt"] or stage.attempt
        if kind is EventKind.STAGE_STARTED:
            stage.started_at, stage.note = _time(event["at"]), ""
        elif kind is EventKind.STAGE_RETRY_SCHEDULED:
            stage.note = failure_of(event)
        elif kind is EventKind.STAGE_FINISHED:
            _apply_outcome(stage, event["stageRun"])
            if stage.status is not StageStatus.COMPLETED:
                stage.note = failure_of(event)


def failure_of(event: Json) -> str:
    """Why an attempt failed: the message, or else the finish reason."""
    return event["errorMessage"] or (event["finishReason"] or "").lower().replace("_", " ")


def metrics_text(metrics: Any, limit: int = 3) -> str:
    """The first few metrics as ``accuracy 0.97, loss 0.1``."""
    if not isinstance(metrics, Mapping):
        return ""
    numbers = [(name, value) for name, value in metrics.items() if number(value) is not None]
    return ", ".join(f"{name} {_metric_text(value)}" for name, value in numbers[:limit])


def _metric_text(value: float | str) -> str:
    """NaN and infinities arrive as texts."""
    return value if isinstance(value, str) else f"{value:.4g}"


def result_text(stage_run: Json) -> str:
    """The results of a stage run in a few words."""
    origin = ["from the cache"] if stage_run["cacheHit"] else []
    return ", ".join([*origin, *filter(None, [metrics_text(stage_run["metrics"])])])


def _apply_outcome(stage: StageProgress, stage_run: Json) -> None:
    stage.seconds = stage_run["executionTime"]
    stage.cpu_percent = stage_run["cpuUsage"]
    stage.memory_mb = stage_run["memoryUsage"]
    stage.note = result_text(stage_run) or stage.note


def _stages(stage_runs: Sequence[Json]) -> dict[str, StageProgress]:
    """The stages by id, in order of position: each after its dependencies."""
    stages: dict[str, StageProgress] = {}
    for stage_run in sorted(stage_runs, key=lambda stage_run: stage_run["position"]):
        above = [stages[dependency["id"]].depth for dependency in stage_run["dependencies"]]
        stage = StageProgress(
            id=stage_run["id"],
            name=stage_run["name"],
            depth=1 + max(above, default=-1),
            status=StageStatus(stage_run["status"]),
            attempt=stage_run["attemptNumber"],
            started_at=_last_start(stage_run["attempts"]),
        )
        _apply_outcome(stage, stage_run)
        if stage_run["errorMessage"]:
            stage.note = stage_run["errorMessage"]
        stages[stage.id] = stage
    return stages


def _last_start(attempts: Sequence[Json]) -> dt.datetime | None:
    """When the latest attempt started; that of the stage run is its first start."""
    return _time(attempts[-1]["startedAt"]) if attempts else None


def _time(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
