"""Every state of a stage run and of a run has a cause, a sentence, and the stage runs that are the reason."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.explanations import (
    Capacity,
    Cause,
    Explanation,
    QueuePosition,
    Surroundings,
    explain_run,
    explain_stage,
)
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
IDLE = Capacity(live_workers=1, active_stage_runs=0, running_runs=1)
FAILED, COMPLETED, SKIPPED = StageStatus.FAILED, StageStatus.COMPLETED, StageStatus.SKIPPED


@dataclass
class Stage:
    id: str
    status: StageStatus = StageStatus.PENDING
    phase: Phase = Phase.FINAL
    depends_on: list[Any] = field(default_factory=list)
    attempt_number: int = 1
    allow_failure: bool = False
    not_before: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    stop_requested_at: dt.datetime | None = None
    finish_reason: FinishReason | None = None
    error_message: str | None = None
    reused_from_key: Any = None
    cache_hit: bool = False
    cache_miss: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.id


@dataclass
class Run:
    status: RunStatus = RunStatus.RUNNING
    cancel_requested_at: dt.datetime | None = None
    cancel_reason: str | None = None
    finish_reason: FinishReason | None = None
    error_message: str | None = None


def explained(
    stage: Stage, *others: Stage, run: Run | None = None, limit: int | None = None, capacity: Capacity = IDLE
) -> Explanation:
    return explain_stage(stage, Surroundings([*others, stage], run or Run(), limit, capacity, NOON))


def names(explanation: Explanation) -> list[str]:
    return [stage.name for stage in explanation.because_of]


def test_a_blocked_stage_names_what_it_still_waits_for() -> None:
    others = [
        Stage("done", COMPLETED),
        Stage("harmless", FAILED, allow_failure=True),
        Stage("slow", StageStatus.RUNNING, Phase.RUNNING),
        Stage("other", StageStatus.RUNNING, Phase.RUNNING),
    ]
    blocked = Stage("train", phase=Phase.BLOCKED, depends_on=["done", "harmless", "slow"])
    explanation = explained(blocked, *others)
    assert (explanation.cause, names(explanation)) == (Cause.WAITS_FOR_STAGES, ["slow"])
    assert explanation.summary == "It waits for 'slow' (running)."


def test_a_retry_has_a_time_and_the_reason_of_the_failure() -> None:
    later = NOON + dt.timedelta(seconds=30)
    stage = Stage("train", phase=Phase.READY, attempt_number=2, not_before=later, error_message="exit code 3")
    explanation = explained(stage)
    assert (explanation.cause, explanation.until) == (Cause.WAITS_FOR_RETRY, later)
    assert explanation.summary == (
        "Attempt 2 failed: exit code 3. Attempt 3 follows at 2026-11-23T12:00:30+00:00."
    )
    stage.not_before = NOON
    assert explained(stage).cause is Cause.WAITS_FOR_CAPACITY


def test_a_ready_stage_names_the_limit_it_waits_for() -> None:
    ready, active = Stage("b", phase=Phase.READY), Stage("a", StageStatus.RUNNING, Phase.COLLECTING)
    assert explained(ready, active, run=Run(RunStatus.PENDING)).cause is Cause.WAITS_FOR_RUN
    limited = explained(ready, active, limit=1)
    assert (limited.cause, names(limited)) == (Cause.WAITS_FOR_RUN_LIMIT, ["a"])
    assert explained(ready, active, limit=2).cause is Cause.WAITS_FOR_CAPACITY
    assert explained(ready, capacity=Capacity(0, 0, 1)).cause is Cause.WAITS_FOR_WORKER
    busy = explained(ready, capacity=Capacity(2, 8, 1))
    assert busy.summary.endswith("Live workers: 2; active stage runs: 8.")


@pytest.mark.parametrize("phase", [Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING])
def test_an_active_stage_may_have_a_stop_request(phase: Phase) -> None:
    stage = Stage("a", StageStatus.RUNNING, phase, attempt_number=3)
    assert explained(stage).cause is Cause.AT_WORK
    assert "3" in explained(stage).summary
    stage.stop_requested_at = NOON
    too_late = phase is Phase.COLLECTING
    assert explained(stage).cause is (Cause.AT_WORK if too_late else Cause.STOPPING)


def test_a_skipped_stage_names_what_failed_first_however_far_upstream() -> None:
    chain = [
        Stage("a", FAILED),
        Stage("fine", COMPLETED),
        Stage("b", SKIPPED, depends_on=["a", "fine"]),
        Stage("c", SKIPPED, depends_on=["b"], error_message="stage 'a' ended FAILED"),
    ]
    explanation = explained(chain[-1], *chain[:-1])
    assert (explanation.cause, names(explanation)) == (Cause.SKIPPED, ["a"])
    assert "stage 'a' ended FAILED" in explanation.summary


def test_each_end_has_its_cause() -> None:
    assert explained(Stage("a", COMPLETED)).cause is Cause.SUCCEEDED
    assert explained(Stage("a", COMPLETED, reused_from_key="b")).cause is Cause.TAKEN_OVER
    failed = explained(Stage("a", FAILED, attempt_number=3, error_message="exit code 3"))
    assert failed == Explanation(Cause.FAILED, "Attempt 3, the last one, failed: exit code 3.")
    unstarted = explained(Stage("a", FAILED, attempt_number=0, error_message="no worker is large enough"))
    assert unstarted == Explanation(Cause.FAILED, "It could not be started: no worker is large enough.")


def test_a_cancelled_stage_names_the_cancel_or_the_failure_that_stopped_it() -> None:
    stage = Stage("b", StageStatus.CANCELLED, error_message="stage 'a' failed and the run is fail-fast")
    by_hand = explained(stage, run=Run(cancel_requested_at=NOON, cancel_reason="enough"))
    assert by_hand == Explanation(Cause.CANCELLED, "The run was cancelled: enough.")
    fail_fast = explained(stage, Stage("a", FAILED), Stage("harmless", FAILED, allow_failure=True))
    assert (fail_fast.cause, names(fail_fast)) == (Cause.CANCELLED, ["a"])


@pytest.mark.parametrize(
    ("run", "cause", "because_of"),
    [
        (Run(RunStatus.PENDING), Cause.WAITS_FOR_CAPACITY, []),
        (Run(RunStatus.RUNNING), Cause.AT_WORK, ["b"]),
        (Run(RunStatus.RUNNING, cancel_requested_at=NOON), Cause.STOPPING, ["b", "c"]),
        (Run(RunStatus.RUNNING, finish_reason=FinishReason.TIMED_OUT), Cause.STOPPING, ["b", "c"]),
        (Run(RunStatus.COMPLETED), Cause.SUCCEEDED, []),
        (Run(RunStatus.FAILED, error_message="stage 'a' failed"), Cause.FAILED, ["a"]),
        (Run(RunStatus.CANCELLED, cancel_reason="enough"), Cause.CANCELLED, []),
    ],
)
def test_every_status_of_a_run_is_explained(run: Run, cause: Cause, because_of: list[str]) -> None:
    stages = [
        Stage("a", FAILED),
        Stage("b", StageStatus.RUNNING, Phase.RUNNING),
        Stage("c", phase=Phase.BLOCKED),
    ]
    explanation = explain_run(run, stages, Capacity(1, 1, 5), QueuePosition(4, 0, None, False))
    assert (explanation.cause, names(explanation)) == (cause, because_of)


@pytest.mark.parametrize(
    ("capacity", "place", "cause", "summary"),
    [
        (
            Capacity(1, 5, 5),
            QueuePosition(3, 1, 2, False),
            Cause.WAITS_FOR_CAPACITY,
            "It waits in the queue. RUNNING runs: 5; runs ahead of it: 3.",
        ),
        (
            Capacity(1, 5, 5),
            QueuePosition(0, 2, 2, False),
            Cause.WAITS_FOR_OTHER_RUNS,
            "Its pipeline may have 2 RUNNING runs at a time, and has 2.",
        ),
        (
            Capacity(1, 5, 5),
            QueuePosition(0, 0, None, True),
            Cause.WAITS_FOR_OTHER_RUNS,
            "A run with the same concurrency key is RUNNING.",
        ),
        (Capacity(0, 0, 0), QueuePosition(0, 0, None, True), Cause.WAITS_FOR_WORKER, "No worker is alive."),
    ],
)
def test_a_waiting_run_names_what_it_waits_for(
    capacity: Capacity, place: QueuePosition, cause: Cause, summary: str
) -> None:
    assert explain_run(Run(RunStatus.PENDING), [], capacity, place) == Explanation(cause, summary)


def test_a_late_stop_request_is_mentioned_only_for_stages_that_had_ended() -> None:
    asked, before, after = NOON, NOON - dt.timedelta(seconds=1), NOON + dt.timedelta(seconds=1)
    run = Run(RunStatus.COMPLETED, cancel_requested_at=asked, cancel_reason="enough")
    late = "came too late"
    assert late in explained(Stage("a", COMPLETED, completed_at=after), run=run).summary
    assert late not in explained(Stage("a", COMPLETED, completed_at=before), run=run).summary
    assert late not in explained(Stage("a", COMPLETED, completed_at=after)).summary
    assert late in explain_run(run, [Stage("a", COMPLETED)], IDLE, QueuePosition(0, 0, None, False)).summary


def test_a_run_that_is_being_stopped_names_the_stages_it_is_too_late_for() -> None:
    stages = [
        Stage("a", StageStatus.RUNNING, Phase.COLLECTING),
        Stage("b", StageStatus.RUNNING, Phase.RUNNING),
    ]
    run = Run(cancel_requested_at=NOON, cancel_reason="enough")
    explanation = explain_run(run, stages, IDLE, QueuePosition(0, 0, None, False))
    assert explanation.summary == (
        "It is being stopped: enough. Too late for 'a': the outputs are being stored."
    )
