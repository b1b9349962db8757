"""What an executor does: runs attempts somewhere, each under a runner shim, and can be asked about them at any time.

All knowledge about an attempt lives in its folder; an executor object holds none that matters, so a restarted server
goes on with the attempts of the one before it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from app.domain.vocabulary import FinishReason
from app.runner.journal import JournalEvent

DEFAULT_LOG_LIMIT_BYTES = 64 << 20


class AttemptState(enum.StrEnum):
    """Where an attempt stands, as its folder tells."""

    NEW = "NEW"
    """Nothing was started: it may be launched, also again."""
    RUNNING = "RUNNING"
    DONE = "DONE"
    """It has a result."""
    LOST = "LOST"
    """It was started and nobody knows how it ended. Sweep it before another attempt is made."""


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """What to run. ``env`` is complete: nothing of the server's own environment is added to it."""

    attempt_id: str
    """``<stage run uuid>.<attempt number>``"""
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    timeout_seconds: float | None = None
    grace_seconds: float = 10
    """Between SIGTERM and SIGKILL."""
    log_limit_bytes: int = DEFAULT_LOG_LIMIT_BYTES
    memory_limit_bytes: int | None = None
    """Of all processes together, watched by sampling: a guard, not a fence."""
    sample_interval_seconds: float = 1.0
    straggler_grace_seconds: float = 2
    """For processes left behind by a main process which ended by itself."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended. Nothing of its process tree is left. Times in seconds since the epoch."""

    finish_reason: FinishReason
    exit_code: int | None
    signal: int | None
    errno: int | None
    error: str | None
    """Why the command could not be started."""
    started_at: float
    finished_at: float
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    peak_cpu_percent: float
    """100 is one core."""
    peak_process_count: int
    log_bytes: int
    log_dropped_bytes: int
    oom_kills_host: int
    """How often the kernel killed for memory on this host meanwhile; not proven to concern this attempt."""
    oom_kills_cgroup: int
    stragglers_killed: int
    """Processes which the main one left behind, and which had to be ended."""
    straggler_names: Sequence[str]
    """Of the first twenty of them."""
    journal_seq: int
    """``seq`` of the journal's last event: a reader which has it has them all."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the content of ``result.json``."""
        return cls(
            finish_reason=FinishReason(document["finishReason"]),
            exit_code=document["exitCode"],
            signal=document["signal"],
            errno=document["errno"],
            error=document["error"],
            started_at=document["startedAt"],
            finished_at=document["finishedAt"],
            wall_seconds=document["wallSeconds"],
            cpu_seconds=document["cpuSeconds"],
            peak_memory_bytes=document["peakMemoryBytes"],
            peak_cpu_percent=document["peakCpuPercent"],
            peak_process_count=document["peakProcessCount"],
            log_bytes=document["logBytes"],
            log_dropped_bytes=document["logDroppedBytes"],
            oom_kills_host=document["oom"]["host"],
            oom_kills_cgroup=document["oom"]["cgroup"],
            stragglers_killed=document["stragglersKilled"],
            # A runner of an older release, which outlived the server's update, does not tell.
            straggler_names=document.get("stragglerNames", ()),
            journal_seq=document["journalSeq"],
        )


class Executor(Protocol):
    """Runs attempts. Every method may be called by any server process, at any time, any number of times."""

    def folder(self, attempt_id: str) -> Path:
        """Where the files of the attempt are, whether it exists or not. Raises ValueError for a malformed id."""

    async def prepare(self, attempt_id: str) -> Path:
        """Make the attempt's folder with its subfolders, so that inputs can be put there before the launch."""

    async def launch(self, spec: AttemptSpec) -> AttemptState:
        """Start the attempt if it is NEW; the state after that. Of any number of callers exactly one starts it."""

    async def state(self, attempt_id: str) -> AttemptState:
        """Where the attempt stands. One which was never prepared is NEW."""

    async def states(self, attempt_ids: Iterable[str]) -> dict[str, AttemptState]:
        """``state`` of many at once."""

    async def wait(self, attempt_id: str) -> AttemptState:
        """Wait while the attempt is RUNNING; what it became (NEW: the shim died before it started anything)."""

    async def journal(self, attempt_id: str, offset: int) -> tuple[list[JournalEvent], int]:
        """Events from a byte offset on, and the offset to go on from. Bounded: ask again until none comes."""

    async def result(self, attempt_id: str) -> AttemptResult:
        """How the attempt ended. Raises FileNotFoundError unless it is DONE."""

    async def cancel(self, attempt_id: str) -> None:
        """Ask the attempt to end. Returns when the wish is durable; ``wait`` says when the attempt has ended."""

    async def sweep(self, attempt_id: str) -> int:
        """Kill what a LOST attempt left behind; how many processes. Returns when none is left."""

    async def forget(self, attempt_id: str) -> None:
        """Remove the folder of an attempt which is not RUNNING (ValueError if it is)."""
