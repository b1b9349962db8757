"""How one attempt of a stage ended, and the sentence that says so to people."""

from __future__ import annotations

import enum
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain import messages
from app.domain.units import BYTES_PER_MB
from app.domain.vocabulary import FinishReason, RunStatus

LAST_LINES = 20
LAST_LINES_BYTES = 4096
UNREADABLE_LINES = "unreadableMetricLines"
"""Key in ``evidence``: how many lines of the metrics file could not be read."""


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended; times are UTC, ``wall_seconds`` comes from a monotonic clock."""

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
    processes_are_gone: bool = True
    """Whether it is certain that no process of the attempt is left."""
    stopped_because: str | None = None
    """The reason given with the stop request, if that is what ended it."""

    @property
    def succeeded(self) -> bool:
        """Exit code 0, and nothing stopped the process."""
        return self.reason is FinishReason.EXITED and self.exit_code == 0


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; ``signal 99`` for a number without a name on this platform."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def explain(outcome: AttemptOutcome, timeout_seconds: float | None = None) -> str | None:
    """What happened, as a sentence for ``errorMessage``; None for a success."""
    if outcome.succeeded:
        return None
    if outcome.stopped_because:
        return "; ".join(filter(None, (outcome.stopped_because, outcome.error)))
    match outcome.reason:
        case FinishReason.EXITED:
            text = f"the command exited with code {outcome.exit_code}"
        case FinishReason.SIGNALED:
            text = f"the command was killed by {signal_name(outcome.signal or 0)}"
        case FinishReason.TIMED_OUT:
            limit = f" of {timeout_seconds:g} s" if timeout_seconds else ""
            text = f"the command was stopped: it ran longer than its time limit{limit}"
        case FinishReason.OUT_OF_MEMORY:
            peak = outcome.peak_memory_bytes
            used = f"; it used {peak / BYTES_PER_MB:.0f} MB" if peak else ""
            text = f"the command was killed for lack of memory{used}"
        case FinishReason.START_FAILED:
            text = "the command could not be started"
        case FinishReason.LOST:
            return f"the attempt was lost: {outcome.error or messages.runner_vanished()}"
        case FinishReason.CANCELLED:
            text = "the stage was cancelled"
        case FinishReason.OUTPUT_REFUSED:
            text = "the outputs of the stage were refused"
        case FinishReason.UPSTREAM_FAILED:
            text = "a stage this one depends on did not complete"
    return f"{text}: {outcome.error}" if outcome.error else text


def cause_of_success(*, was_asked_to_stop: bool) -> str:
    """Why a stage run is COMPLETED."""
    too_late = "; the request to stop it came too late" if was_asked_to_stop else ""
    return f"the command exited with code 0{too_late}"


def cause_of_run_end(status: RunStatus, message: str | None, *, cancelled: bool) -> str:
    """Why a run ended with this status. ``message``: what went wrong; ``cancelled``: a cancel was requested."""
    if status is RunStatus.CANCELLED:
        return "the run was cancelled, and no process of it is left"
    if status is RunStatus.COMPLETED:
        too_late = "; the cancel came too late to stop any of them" if cancelled else ""
        return f"every stage succeeded, or failed with allowFailure{too_late}"
    too_late = "; the cancel came too late to change that" if cancelled else ""
    return f"{message or 'a stage failed'}{too_late}"


class MemoryEvidence(enum.StrEnum):
    """How certain it is that an attempt ended for lack of memory."""

    CERTAIN = "CERTAIN"
    LIKELY = "LIKELY"
    POSSIBLE = "POSSIBLE"


def memory_evidence(reason: FinishReason, host_kills: int, cgroup_kills: int) -> MemoryEvidence | None:
    """How certain a lack of memory is by the kernel's counters; None if nothing indicates it.

    OUT_OF_MEMORY without a kill means that the runner measured more than the limit and ended the attempt. An attempt
    that ended for another reason may still have lost a child process to the kernel.
    """
    if reason is not FinishReason.OUT_OF_MEMORY:
        return MemoryEvidence.POSSIBLE if host_kills or cgroup_kills else None
    if cgroup_kills:
        return MemoryEvidence.LIKELY
    return MemoryEvidence.POSSIBLE if host_kills else MemoryEvidence.CERTAIN


def end_summary(
    message: str | None,
    *,
    wall_seconds: float | None,
    stop_came_too_late: bool,
    stragglers: int,
    unreadable_lines: int,
) -> str:
    """The end of a stage run or an attempt in sentences. ``message``: what went wrong, None for a success."""
    what = message or "the command exited with code 0"
    after = "" if wall_seconds is None else f", after {wall_seconds:.3g} s"
    sentences = [f"{what[:1].upper()}{what[1:]}{after}."]
    if stop_came_too_late:
        sentences.append("The request to stop it came too late.")
    if stragglers:
        processes = (
            "process that it left behind was" if stragglers == 1 else "processes that it left behind were"
        )
        sentences.append(f"{stragglers} {processes} ended.")
    if unreadable_lines:
        lines = "line" if unreadable_lines == 1 else "lines"
        sentences.append(f"{unreadable_lines} {lines} of its metrics could not be read.")
    return " ".join(sentences)


def last_lines(text: str) -> list[str]:
    """The last lines of a log: at most 20 lines and 4 KiB; the first line is cut if necessary."""
    kept: list[str] = []
    room = LAST_LINES_BYTES
    for line in reversed(text.splitlines()[-LAST_LINES:]):
        data = line.encode()[-room:]
        kept.append(data.decode(errors="ignore"))
        room -= len(data) + 1
        if room <= 0:
            break
    return kept[::-1]
