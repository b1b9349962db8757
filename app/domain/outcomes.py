"""How one attempt of a stage ended, and the sentence that tells a person."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.statuses import FinishReason


@dataclass(frozen=True)
class AttemptOutcome:
    """The certificate of an attempt's end; times are UTC, ``wall_seconds`` comes from a monotonic clock."""

    reason: FinishReason
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    peak_cpu_percent: float | None = None
    log_bytes: int | None = None
    log_dropped_bytes: int | None = None
    log_tail: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Exit code 0, and nothing stopped the process."""
        return self.reason is FinishReason.EXITED and self.exit_code == 0


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; the bare number where the platform has no name for it."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def explain(outcome: AttemptOutcome, timeout_seconds: float | None = None) -> str | None:
    """What happened, in a sentence for ``errorMessage``; None for a success."""
    if outcome.succeeded:
        return None
    match outcome.reason:
        case FinishReason.EXITED:
            text = f"the command exited with code {outcome.exit_code}"
        case FinishReason.SIGNALED:
            text = f"the command was killed by {signal_name(outcome.signal or 0)}"
        case FinishReason.TIMED_OUT:
            limit = f" of {timeout_seconds:g} s" if timeout_seconds else ""
            text = f"the command was stopped: it ran longer than its time limit{limit}"
        case FinishReason.OUT_OF_MEMORY:
            peak = f"; it used {outcome.peak_memory_bytes / 1e6:.0f} MB" if outcome.peak_memory_bytes else ""
            text = f"the command was killed for want of memory{peak}"
        case FinishReason.START_FAILED:
            text = "the command could not be started"
        case FinishReason.LOST:
            return f"the attempt was lost: {outcome.error or 'its runner ended without a result'}"
        case FinishReason.CANCELLED:
            text = "the stage was cancelled"
        case FinishReason.OUTPUT_REFUSED:
            text = "the outputs of the stage were refused"
        case FinishReason.UPSTREAM_FAILED:
            text = "a stage this one depends on did not complete"
    return f"{text}: {outcome.error}" if outcome.error else text
