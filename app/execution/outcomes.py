"""Turns what an executor reports about the end of an attempt into the outcome that is stored."""

from __future__ import annotations

from dataclasses import replace

from app.domain.outcomes import UNREADABLE_LINES, AttemptOutcome
from app.domain.vocabulary import FinishReason
from app.execution.executors.base import AttemptResult
from app.execution.ingest import instant


def outcome_of(result: AttemptResult, tail: str | None) -> AttemptOutcome:
    """The outcome to store: an executor's result and the last lines of the log."""
    if result.finish_reason is FinishReason.START_FAILED:
        return AttemptOutcome(result.finish_reason, error=result.error)
    return AttemptOutcome(
        reason=result.finish_reason,
        exit_code=result.exit_code,
        signal=result.signal,
        error=result.error,
        started_at=instant(result.started_at),
        finished_at=instant(result.finished_at),
        wall_seconds=result.wall_seconds,
        cpu_seconds=result.cpu_seconds,
        peak_memory_bytes=result.peak_memory_bytes or None,
        peak_cpu_percent=result.peak_cpu_percent,
        log_bytes=result.log_bytes,
        log_dropped_bytes=result.log_dropped_bytes,
        log_tail=tail,
        evidence={
            "oomKillsHost": result.oom_kills_host,
            "oomKillsCgroup": result.oom_kills_cgroup,
            "stragglersKilled": result.stragglers_killed,
            "stragglerNames": list(result.straggler_names),
            "peakProcessCount": result.peak_process_count,
        },
    )


def with_unreadable_lines(outcome: AttemptOutcome, count: int) -> AttemptOutcome:
    """Unreadable lines of metrics are no failure, but the outcome says how many there were."""
    return replace(outcome, evidence={**outcome.evidence, UNREADABLE_LINES: count}) if count else outcome
