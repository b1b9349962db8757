"""How a stage run or one of its attempts ended: all evidence in types."""

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
    "How certain it is that an attempt ended because of a lack of memory.",
    {
        "CERTAIN": "The process that watches the command measured more than `memoryMb` and ended it.",
        "LIKELY": "The kernel killed a process for lack of memory in the memory cgroup of the attempt.",
        "POSSIBLE": "The kernel killed a process for lack of memory elsewhere on the host during the attempt.",
    },
)


@strawberry.type(description="A signal of the operating system.")
class Signal:
    number: int = strawberry.field(description="Its number, for example 9.")
    name: str = strawberry.field(description="Its name, for example SIGKILL.")

    @classmethod
    def of(cls, number: int) -> Self:
        return cls(number=number, name=signal_name(number))


@strawberry.type(description="Evidence that an attempt ended because of a lack of memory.")
class OutOfMemory:
    confidence: MemoryEvidence = strawberry.field(description="How certain it is.")
    host_kills: int = strawberry.field(
        description="Number of processes on the whole host that the kernel killed for lack of memory during the "
        "attempt."
    )
    cgroup_kills: int = strawberry.field(
        description="The same number in the memory cgroup of the attempt, which other processes may share."
    )

    @classmethod
    def of(cls, reason: FinishReason, evidence: Mapping[str, Any]) -> Self | None:
        host, cgroup = evidence.get("oomKillsHost", 0), evidence.get("oomKillsCgroup", 0)
        confidence = memory_evidence(reason, host, cgroup)
        return (
            None if confidence is None else cls(confidence=confidence, host_kills=host, cgroup_kills=cgroup)
        )


@strawberry.type(description="Processes that the command left behind; they were ended.")
class Stragglers:
    count: int = strawberry.field(description="Number of processes.")
    names: list[str] = strawberry.field(description="Names of the processes; at most 20.")


@strawberry.type(description="A request to stop a stage run.")
class StopRequest:
    reason: FinishReason = strawberry.field(description="CANCELLED or, for a time limit, TIMED_OUT.")
    actor: str | None = strawberry.field(description="The name given to `cancelRun`, or engine.")
    cause: str | None = strawberry.field(description="Why it was requested, for people.")
    at: dt.datetime = strawberry.field(description="When it was requested.")
    came_too_late: bool = strawberry.field(
        description="True if the command ended by itself before the request reached it."
    )

    @classmethod
    def of(cls, stage_run: StageRun, reason: FinishReason) -> Self | None:
        """The request to stop a stage run that ended for this reason; ``None`` if there was none."""
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
    """A field that is null if no attempt decided, or if the attempt does not have it."""
    return strawberry.field(default=None, description=f"{description}.")


@strawberry.type(description="How a stage run, or one of its attempts, ended: all that is known.")
class StageEnd:
    stage_run_key: strawberry.Private[uuid.UUID]
    worker_key: strawberry.Private[uuid.UUID | None] = None
    finish_reason: FinishReason = strawberry.field(description="Why it ended.")
    summary: str = strawberry.field(description="What happened, in a sentence for people.")
    attempt: int | None = known_of_attempt(
        "Number of the attempt that decided; null if none did: it was skipped, stopped while it waited, or reuses "
        "earlier results"
    )
    exit_code: int | None = known_of_attempt("Exit code of the command; null if it did not exit by itself")
    signal: Signal | None = known_of_attempt("The signal that ended the command; null if none did")
    out_of_memory: OutOfMemory | None = known_of_attempt(
        "Evidence for a lack of memory; null if it succeeded or there is none"
    )
    stop: StopRequest | None = known_of_attempt("The request to stop it; null if there was none")
    stragglers: Stragglers | None = known_of_attempt(
        "Processes that the command left behind; null if there were none"
    )
    peak_memory_bytes: BigInt | None = known_of_attempt("Highest memory use of its process tree in bytes")
    peak_cpu_percent: float | None = known_of_attempt(
        "Highest CPU use of its process tree in percent of one core"
    )
    peak_process_count: int | None = known_of_attempt("Highest number of processes at the same time")
    unreadable_metric_lines: int | None = known_of_attempt(
        "Number of lines it wrote to `MLP_METRICS` that are not metrics; null if there were none"
    )
    cpu_seconds: float | None = known_of_attempt("CPU time of its process tree in seconds")
    execution_time: float | None = known_of_attempt(
        "Seconds from the start of the attempt to the end of its last process"
    )
    started_at: dt.datetime | None = known_of_attempt("When its process started")
    finished_at: dt.datetime | None = known_of_attempt(
        "When its last process had ended, or it was declared lost"
    )
    host_id: strawberry.ID | None = known_of_attempt("Id of the host that executed it")

    @strawberry.field(description="The worker that executed it; null if none did or it is no longer known.")
    async def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return await info.context.loaders.worker_by_id.load(self.worker_key)

    @strawberry.field(description="The last lines of its log: at most 20 lines and 4 KiB.")
    async def last_log_lines(self, info: Info) -> list[str]:
        if self.attempt is None:
            return []
        tails = await info.context.loaders.log_tails_by_stage_run.load(self.stage_run_key)
        return tails.get(self.attempt, "").splitlines()

    @classmethod
    def of_stage_run(cls, stage_run: StageRun, attempts: list[StageAttempt]) -> Self | None:
        """``None`` until the stage run has ended; ``attempts`` are all of its attempts, oldest first."""
        reason = stage_run.finish_reason
        if stage_run.status not in STAGE_FINAL or reason is None:
            return None
        # A stage run that ended while it waited for another attempt was not ended by its last one.
        decided = attempts[-1] if attempts and attempts[-1].finish_reason is reason else None
        message = stage_run.error_message
        if stage_run.status is StageStatus.COMPLETED and decided is None:
            source = "execution were reused from the cache" if stage_run.cache_hit else "run were reused"
            message = f"the results of an earlier {source}"
        return cls._of(stage_run, decided, reason, message)

    @classmethod
    def of_attempt(cls, attempt: StageAttempt, stage_run: StageRun) -> Self | None:
        """``None`` until the attempt has ended."""
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
    """The fields of ``StageEnd`` from the attempt that decided."""
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
