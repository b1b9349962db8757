"""The death certificate of a stage run or of one of its attempts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import strawberry

from app.domain.moves import STAGE_FINAL
from app.domain.outcomes import UNREADABLE_LINES, MemoryEvidence, end_summary, memory_evidence, signal_name
from app.graphql.shared.enums import FinishReason, StageStatus, describe
from app.graphql.shared.info import Info
from app.graphql.shared.scalars import BigInt
from app.graphql.system.types import Worker

if TYPE_CHECKING:
    from app.graphql.stage_runs.attempts import StageAttempt
    from app.graphql.stage_runs.types import StageRun

describe(
    MemoryEvidence,
    "How certain it is that a stage ended for want of memory.",
    {
        "CERTAIN": "Its runner measured more than its memoryMb, and ended it for that.",
        "LIKELY": "The kernel killed for memory in the group of processes it belongs to.",
        "POSSIBLE": "The kernel killed for memory somewhere on the host meanwhile.",
    },
)


@strawberry.type(description="A signal of the operating system.")
class Signal:
    number: int = strawberry.field(description="Its number, for example 9.")
    name: str = strawberry.field(description="Its name, for example SIGKILL.")

    @classmethod
    def of(cls, number: int) -> Self:
        return cls(number=number, name=signal_name(number))


@strawberry.type(description="What speaks for an end by want of memory.")
class OutOfMemory:
    confidence: MemoryEvidence = strawberry.field(description="How certain it is.")
    host_kills: int = strawberry.field(
        description="How often the kernel killed for memory on the whole host while the attempt ran."
    )
    cgroup_kills: int = strawberry.field(
        description="How often it did so in the memory cgroup of the attempt, which others may share."
    )

    @classmethod
    def of(cls, reason: FinishReason, evidence: Mapping[str, Any]) -> Self | None:
        host, cgroup = evidence.get("oomKillsHost", 0), evidence.get("oomKillsCgroup", 0)
        confidence = memory_evidence(reason, host, cgroup)
        return (
            None if confidence is None else cls(confidence=confidence, host_kills=host, cgroup_kills=cgroup)
        )


@strawberry.type(description="Processes which the main process of a stage left behind, and which were ended.")
class Stragglers:
    count: int = strawberry.field(description="How many there were.")
    names: list[str] = strawberry.field(description="Names of the first twenty of them.")


@strawberry.type(description="Somebody asked for the end of a stage run.")
class StopRequest:
    reason: FinishReason = strawberry.field(description="CANCELLED or, for a time limit, TIMED_OUT.")
    actor: str | None = strawberry.field(
        description="Who asked: a person or program as named by cancelRun, or engine."
    )
    cause: str | None = strawberry.field(description="Why, for people.")
    at: dt.datetime = strawberry.field(description="When.")
    came_too_late: bool = strawberry.field(
        description="It had ended by itself before the request reached it."
    )

    @classmethod
    def of(cls, stage_run: StageRun, reason: FinishReason) -> Self | None:
        """The request for the end of a stage run, which then ended for this reason."""
        if stage_run.stop_requested_at is None:
            return None
        return cls(
            reason=stage_run.stop_reason or FinishReason.CANCELLED,
            actor=stage_run.stop_actor,
            cause=stage_run.stop_cause,
            at=stage_run.stop_requested_at,
            came_too_late=reason not in (FinishReason.CANCELLED, FinishReason.TIMED_OUT, FinishReason.LOST),
        )


def known_of_attempt(description: str) -> Any:
    """A field that is null as long as no attempt tells it."""
    return strawberry.field(default=None, description=f"{description}.")


@strawberry.type(description="How a stage run, or one attempt of it, ended: everything that is known.")
class StageEnd:
    stage_run_key: strawberry.Private[uuid.UUID]
    worker_key: strawberry.Private[uuid.UUID | None] = None
    finish_reason: FinishReason = strawberry.field(description="Why it ended.")
    summary: str = strawberry.field(description="What happened, in a sentence for people.")
    attempt: int | None = known_of_attempt(
        "The attempt which decided; null if none did: it was skipped, stopped while it waited, or its results were "
        "taken over"
    )
    exit_code: int | None = known_of_attempt("Exit code of the command")
    signal: Signal | None = known_of_attempt("The signal which ended the command")
    out_of_memory: OutOfMemory | None = known_of_attempt(
        "What speaks for want of memory, if it failed and anything does"
    )
    stop: StopRequest | None = known_of_attempt("Who asked for its end, if anybody did")
    stragglers: Stragglers | None = known_of_attempt("What the command left behind, if it left anything")
    peak_memory_bytes: BigInt | None = known_of_attempt("Most memory of its process tree")
    peak_cpu_percent: float | None = known_of_attempt("Most CPU in percent of one core")
    peak_process_count: int | None = known_of_attempt("Most processes at a time")
    unreadable_metric_lines: int | None = known_of_attempt(
        "How many lines which it wrote to `MLP_METRICS` are no metric, if any"
    )
    cpu_seconds: float | None = known_of_attempt("CPU time of its process tree")
    execution_time: float | None = known_of_attempt(
        "Seconds from the start of its runner to the end of its last process"
    )
    started_at: dt.datetime | None = known_of_attempt("When its process started")
    finished_at: dt.datetime | None = known_of_attempt("When its last process was gone, or it was given up")
    host_id: strawberry.ID | None = known_of_attempt("The host which executed it")

    @strawberry.field(description="The worker which looked after it, if it is still known.")
    async def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return await info.context.loaders.worker_by_id.load(self.worker_key)

    @strawberry.field(description="The end of what it printed: at most 20 lines and 4 KiB.")
    async def last_log_lines(self, info: Info) -> list[str]:
        if self.attempt is None:
            return []
        tails = await info.context.loaders.log_tails_by_stage_run.load(self.stage_run_key)
        return tails.get(self.attempt, "").splitlines()

    @classmethod
    def of_stage_run(cls, stage_run: StageRun, attempts: list[StageAttempt]) -> Self | None:
        """None unless the stage run is over; ``attempts`` are all of its attempts, oldest first."""
        reason = stage_run.finish_reason
        if stage_run.status not in STAGE_FINAL or reason is None:
            return None
        # What ended while it waited for another attempt was not ended by the last one.
        decided = attempts[-1] if attempts and attempts[-1].finish_reason is reason else None
        message = stage_run.error_message
        if stage_run.status is StageStatus.COMPLETED and decided is None:
            source = "execution were taken from the cache" if stage_run.cache_hit else "run were taken over"
            message = f"the results of an earlier {source}"
        return cls._of(stage_run, decided, reason, message)

    @classmethod
    def of_attempt(cls, attempt: StageAttempt, stage_run: StageRun) -> Self | None:
        """None unless the attempt is over."""
        if attempt.finish_reason is None:
            return None
        return cls._of(stage_run, attempt, attempt.finish_reason, attempt.error_message)

    @classmethod
    def _of(
        cls, stage_run: StageRun, attempt: StageAttempt | None, reason: FinishReason, message: str | None
    ) -> Self:
        is_last = attempt is None or attempt.attempt == stage_run.attempt_number
        stop = StopRequest.of(stage_run, reason) if is_last else None
        alone: dict[str, Any] = {"finished_at": stage_run.completed_at}
        facts = alone if attempt is None else facts_of(attempt, reason)
        left_behind: Stragglers | None = facts.get("stragglers")
        return cls(
            stage_run_key=stage_run.id,
            finish_reason=reason,
            summary=end_summary(
                message,
                wall_seconds=facts.get("execution_time"),
                stop_came_too_late=stop is not None and stop.came_too_late,
                stragglers=0 if left_behind is None else left_behind.count,
                unreadable_lines=facts.get("unreadable_metric_lines") or 0,
            ),
            stop=stop,
            **facts,
        )


def facts_of(attempt: StageAttempt, reason: FinishReason) -> dict[str, Any]:
    """The fields of ``StageEnd`` which come from the attempt that decided."""
    evidence = attempt.evidence or {}
    count = evidence.get("stragglersKilled", 0)
    names = evidence.get("stragglerNames", [])
    return {
        "attempt": attempt.attempt,
        "worker_key": attempt.worker_key,
        "host_id": attempt.host_id,
        "exit_code": attempt.exit_code,
        "signal": None if attempt.signal is None else Signal.of(attempt.signal),
        "out_of_memory": None if attempt.exit_code == 0 else OutOfMemory.of(reason, evidence),
        "stragglers": Stragglers(count=count, names=names) if count else None,
        "peak_memory_bytes": attempt.peak_memory_bytes,
        "peak_cpu_percent": attempt.peak_cpu_percent,
        "peak_process_count": evidence.get("peakProcessCount"),
        "unreadable_metric_lines": evidence.get(UNREADABLE_LINES),
        "cpu_seconds": attempt.cpu_seconds,
        "execution_time": attempt.wall_seconds,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
    }
