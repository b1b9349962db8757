"""Why a stage run or a run is in its present state: a cause from a closed set, and a sentence for people."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.domain.cache.misses import CacheMiss
from app.domain.moves import ACTIVE_PHASES, STAGE_FINAL
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus


class Cause(enum.StrEnum):
    """What the state of a stage run or a run depends on, or why it ended as it did."""

    WAITS_FOR_STAGES = "WAITS_FOR_STAGES"
    WAITS_FOR_RUN = "WAITS_FOR_RUN"
    WAITS_FOR_RETRY = "WAITS_FOR_RETRY"
    WAITS_FOR_OTHER_RUNS = "WAITS_FOR_OTHER_RUNS"
    WAITS_FOR_RUN_LIMIT = "WAITS_FOR_RUN_LIMIT"
    WAITS_FOR_CAPACITY = "WAITS_FOR_CAPACITY"
    WAITS_FOR_WORKER = "WAITS_FOR_WORKER"
    AT_WORK = "AT_WORK"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    TAKEN_OVER = "TAKEN_OVER"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


class StageFacts(Protocol):
    """The columns of a stage run that explain its state."""

    id: Any
    name: str
    status: StageStatus
    phase: Phase
    attempt_number: int
    depends_on: list[Any]
    allow_failure: bool
    not_before: dt.datetime | None
    completed_at: dt.datetime | None
    stop_requested_at: dt.datetime | None
    finish_reason: FinishReason | None
    error_message: str | None
    reused_from_key: Any
    cache_hit: bool
    cache_miss: Any
    """A ``CacheMiss`` as stored JSON."""


class RunFacts(Protocol):
    """The columns of a run that explain its state."""

    status: RunStatus
    cancel_requested_at: dt.datetime | None
    cancel_reason: str | None
    finish_reason: FinishReason | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """The load of the whole installation."""

    live_workers: int
    active_stage_runs: int
    running_runs: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the state of a stage run depends on besides the stage run itself.

    ``siblings``: all stage runs of the run; ``stage_limit``: how many of them may be active at a time.
    """

    siblings: Sequence[StageFacts]
    run: RunFacts
    stage_limit: int | None
    capacity: Capacity
    now: dt.datetime


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of a PENDING run in the queue, and whether its limits allow it to start."""

    runs_ahead: int
    running_of_pipeline: int
    pipeline_limit: int | None
    key_is_taken: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The cause and a sentence about it.

    ``because_of``: the stage runs that are the reason; ``until``: when a wait for a certain time ends. ``cache_miss``:
    why a stage with a cache was executed.
    """

    cause: Cause
    summary: str
    because_of: tuple[Any, ...] = ()
    until: dt.datetime | None = None
    cache_miss: CacheMiss | None = None


def explain_stage(stage: StageFacts, around: Surroundings) -> Explanation:
    """Why the stage run is in its present state."""
    explanation = _explain_state(stage, around)
    if stage.cache_miss is None or explanation.cause not in _EXECUTED:
        return explanation
    miss = CacheMiss.from_json(stage.cache_miss)
    summary = f"{explanation.summary} No earlier result was reused: {miss.summary}."
    return replace(explanation, summary=summary, cache_miss=miss)


_EXECUTED = frozenset({Cause.AT_WORK, Cause.SUCCEEDED, Cause.FAILED})


def _explain_state(stage: StageFacts, around: Surroundings) -> Explanation:
    if stage.phase is Phase.FINAL:
        return _explain_end(stage, around.siblings, around.run)
    if stage.phase is Phase.BLOCKED:
        return _explain_block(stage, around.siblings)
    if stage.phase is Phase.READY:
        return _explain_wait(stage, around)
    if stage.stop_requested_at is not None and stage.phase is not Phase.COLLECTING:
        return Explanation(Cause.STOPPING, "A stop was requested; its processes have time to end.")
    doing = {
        Phase.CLAIMED: "A worker prepares attempt {}.",
        Phase.RUNNING: "The process of attempt {} is running.",
        Phase.COLLECTING: "Attempt {} has ended; its outputs are being stored.",
    }
    return Explanation(Cause.AT_WORK, doing[stage.phase].format(stage.attempt_number))


def _explain_block(stage: StageFacts, siblings: Sequence[StageFacts]) -> Explanation:
    waited_for = [other for other in siblings if other.id in stage.depends_on and not _is_done(other)]
    states = ", ".join(f"{other.name!r} ({other.status.lower()})" for other in waited_for)
    return Explanation(Cause.WAITS_FOR_STAGES, f"It waits for {states}.", tuple(waited_for))


def _is_done(stage: StageFacts) -> bool:
    failed_harmlessly = stage.status is StageStatus.FAILED and stage.allow_failure
    return stage.status is StageStatus.COMPLETED or failed_harmlessly


def _explain_wait(stage: StageFacts, around: Surroundings) -> Explanation:
    if around.run.status is RunStatus.PENDING:
        return Explanation(Cause.WAITS_FOR_RUN, "Its run has not started yet.")
    if stage.not_before is not None and stage.not_before > around.now:
        number = stage.attempt_number
        because = f"Attempt {number} failed: {stage.error_message}" if stage.error_message else "It waits"
        when = stage.not_before.astimezone(dt.UTC).isoformat(timespec="seconds")
        return Explanation(
            Cause.WAITS_FOR_RETRY,
            f"{because}. Attempt {number + 1} follows at {when}.",
            until=stage.not_before,
        )
    if around.capacity.live_workers == 0:
        return Explanation(Cause.WAITS_FOR_WORKER, "No worker is alive.")
    active = _active(around.siblings)
    if around.stage_limit is not None and len(active) >= around.stage_limit:
        return Explanation(
            Cause.WAITS_FOR_RUN_LIMIT,
            f"Its run may have {around.stage_limit} active stages at a time, and has {_names(active)}.",
            active,
        )
    return Explanation(
        Cause.WAITS_FOR_CAPACITY,
        f"It waits for a worker with room. Live workers: {around.capacity.live_workers}; "
        f"active stage runs: {around.capacity.active_stage_runs}.",
    )


def _explain_end(stage: StageFacts, siblings: Sequence[StageFacts], run: RunFacts) -> Explanation:
    message = stage.error_message or "no message"
    if stage.status is StageStatus.COMPLETED:
        if stage.cache_hit:
            return Explanation(
                Cause.TAKEN_OVER,
                "Its cache key is that of an earlier execution, whose results were reused.",
            )
        if stage.reused_from_key is not None:
            return Explanation(Cause.TAKEN_OVER, "The results of an earlier run were reused.")
        late = " The request to stop it came too late." if _was_stopped_too_late(stage, run) else ""
        return Explanation(Cause.SUCCEEDED, f"Attempt {stage.attempt_number} succeeded.{late}")
    if stage.status is StageStatus.FAILED:
        number = stage.attempt_number
        what = f"Attempt {number}, the last one, failed" if number else "It could not be started"
        return Explanation(Cause.FAILED, f"{what}: {message}.")
    if stage.status is StageStatus.SKIPPED:
        return Explanation(Cause.SKIPPED, f"It was not started: {message}.", _culprits(stage, siblings))
    if run.cancel_requested_at is not None:
        return Explanation(Cause.CANCELLED, f"The run was cancelled: {run.cancel_reason or message}.")
    return Explanation(Cause.CANCELLED, f"It was stopped: {message}.", _failed(siblings))


def _was_stopped_too_late(stage: StageFacts, run: RunFacts) -> bool:
    """Whether a stop of the stage run, or a cancel of its run, was requested before the stage run succeeded."""
    asked_at = stage.stop_requested_at or run.cancel_requested_at
    return asked_at is not None and stage.completed_at is not None and asked_at < stage.completed_at


def _culprits(stage: StageFacts, siblings: Iterable[StageFacts]) -> tuple[StageFacts, ...]:
    """The upstream stage runs that failed or were cancelled; not those that were only skipped."""
    by_id: Mapping[Any, StageFacts] = {other.id: other for other in siblings}
    found: dict[Any, StageFacts] = {}
    seen, todo = set(), list(stage.depends_on)
    while todo:
        other = by_id.get(key := todo.pop())
        if other is None or key in seen:
            continue
        seen.add(key)
        todo.extend(other.depends_on)
        if other.status in (StageStatus.FAILED, StageStatus.CANCELLED) and not _is_done(other):
            found[key] = other
    return tuple(other for other in by_id.values() if other.id in found)


def explain_run(
    run: RunFacts, stages: Sequence[StageFacts], capacity: Capacity, position: QueuePosition
) -> Explanation:
    """Why the run is in its present state; ``stages`` are all its stage runs."""
    if run.status is RunStatus.PENDING:
        return _explain_queue(capacity, position)
    if run.status is RunStatus.RUNNING:
        return _explain_running(run, stages)
    if run.status is RunStatus.COMPLETED:
        late = " The cancel came too late to stop any of them." if run.cancel_requested_at else ""
        hits = [stage for stage in stages if stage.cache_hit]
        cached = f" Reused from the cache: {_names(hits)}." if hits else ""
        return Explanation(
            Cause.SUCCEEDED, f"Every stage succeeded, or failed with allowFailure.{late}{cached}"
        )
    if run.status is RunStatus.CANCELLED:
        return Explanation(Cause.CANCELLED, f"It was cancelled: {run.cancel_reason or run.error_message}.")
    return Explanation(Cause.FAILED, f"It failed: {run.error_message or 'no message'}.", _failed(stages))


def _explain_queue(capacity: Capacity, position: QueuePosition) -> Explanation:
    if capacity.live_workers == 0:
        return Explanation(Cause.WAITS_FOR_WORKER, "No worker is alive.")
    if position.key_is_taken:
        return Explanation(Cause.WAITS_FOR_OTHER_RUNS, "A run with the same concurrency key is RUNNING.")
    if position.pipeline_limit is not None and position.running_of_pipeline >= position.pipeline_limit:
        return Explanation(
            Cause.WAITS_FOR_OTHER_RUNS,
            f"Its pipeline may have {position.pipeline_limit} RUNNING runs at a time, and has "
            f"{position.running_of_pipeline}.",
        )
    return Explanation(
        Cause.WAITS_FOR_CAPACITY,
        f"It waits in the queue. RUNNING runs: {capacity.running_runs}; runs ahead of it: {position.runs_ahead}.",
    )


def _explain_running(run: RunFacts, stages: Sequence[StageFacts]) -> Explanation:
    still_open = tuple(stage for stage in stages if stage.status not in STAGE_FINAL)
    if run.cancel_requested_at is not None or run.finish_reason is not None:
        why = run.cancel_reason or run.error_message or "no reason was given"
        collecting = tuple(stage for stage in still_open if stage.phase is Phase.COLLECTING)
        late = f" Too late for {_names(collecting)}: the outputs are being stored." if collecting else ""
        return Explanation(Cause.STOPPING, f"It is being stopped: {why}.{late}", still_open)
    active = _active(still_open)
    ended = len(stages) - len(still_open)
    names = f"active: {_names(active)}" if active else "none is active"
    return Explanation(
        Cause.AT_WORK, f"{ended} of {len(stages)} stages have ended; {names}.", active or still_open
    )


def _active(stages: Iterable[StageFacts]) -> tuple[StageFacts, ...]:
    return tuple(stage for stage in stages if stage.phase in ACTIVE_PHASES)


def _failed(stages: Iterable[StageFacts]) -> tuple[StageFacts, ...]:
    """The stages that failed without ``allowFailure``."""
    return tuple(stage for stage in stages if stage.status is StageStatus.FAILED and not stage.allow_failure)


def _names(stages: Iterable[StageFacts]) -> str:
    return ", ".join(repr(stage.name) for stage in stages)
