"""What an executor does: it runs attempts somewhere and answers questions about them at any time.

An executor object holds no state that matters: what it knows is stored where the attempt runs. A restarted server
continues with the attempts of its predecessor.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol, Self

from app.database.reads.attempts import InputFile
from app.domain.specs import StageConfig
from app.domain.vocabulary import FinishReason
from app.inspection.facts import Inspection
from app.runner.journal import JournalEvent
from app.services.logs import LiveLogs
from app.storage.base import ArtifactStore, StoredBlob


class AttemptState(enum.StrEnum):
    """The state of an attempt, as its executor knows it."""

    NEW = "NEW"
    """Nothing has started: the attempt may be launched."""
    RUNNING = "RUNNING"
    DONE = "DONE"
    """The attempt has a result."""
    LOST = "LOST"
    """The attempt started, and its end is unknown. Sweep it before the next attempt starts."""


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """What to run, wherever it runs: the executor adds the paths of the attempt's own files."""

    attempt_id: str
    """``<stage run uuid>.<attempt number>``"""
    config: StageConfig
    """How to run it. No variable of the server but those of ``env`` is passed on; without a ``workdir`` the command
    starts in an empty folder of the attempt. ``memory_mb`` is the limit of all processes together. It is checked with
    each sample, so it may be exceeded between two samples."""
    _: KW_ONLY
    grace_seconds: float
    """Seconds between SIGTERM and SIGKILL."""
    log_limit_bytes: int
    inputs: Sequence[InputFile] = ()
    sample_interval_seconds: float = 1.0
    straggler_grace_seconds: float = 2
    """Seconds between SIGTERM and SIGKILL for processes that outlive a main process that ended by itself."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended; no process of it is left. Times in seconds since the epoch."""

    finish_reason: FinishReason
    exit_code: int | None
    signal: int | None
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
    """Processes of the whole host that the kernel killed for memory while the attempt ran."""
    oom_kills_cgroup: int
    stragglers_killed: int
    """Processes that outlived the main process and had to be ended."""
    straggler_names: Sequence[str]
    """The names of the first twenty of them."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the content of ``result.json``."""
        return cls(
            finish_reason=FinishReason(document["finishReason"]),
            exit_code=document["exitCode"],
            signal=document["signal"],
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
            # A runner of an older release, still running after the server's update, writes no names.
            straggler_names=document.get("stragglerNames", ()),
        )


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much a stage may leave in its output folder."""

    total_bytes: int
    files: int
    depth: int = 16
    """Levels of folders, the output folder included."""


class AttemptOutputs(Protocol):
    """The output files of an attempt that has ended, listed once.

    Every method raises ``OutputRefused`` for a file that has changed since it was listed.
    """

    @property
    def paths(self) -> Sequence[str]:
        """Relative to the output folder, with forward slashes, sorted by folder."""

    async def read(self, path: str, limit_bytes: int) -> bytes:
        """The first bytes of a file."""

    async def store(self, path: str, store: ArtifactStore) -> StoredBlob:
        """Put a file into the store."""

    async def inspect(self, paths: Sequence[str]) -> list[Inspection]:
        """Facts about data sets and models. A file that can't be inspected gets an ``error``."""

    async def stage_result(self, limit_bytes: int) -> bytes | None:
        """The first bytes of ``stage_result.json``; None if the stage wrote none."""


class Executor(LiveLogs, Protocol):
    """Runs attempts. Any server process may call any method at any time, and repeat it.

    Every method raises ValueError for a malformed attempt id.
    """

    async def prepare(self, spec: AttemptSpec, store: ArtifactStore) -> None:
        """Put parameters and inputs in place before the launch; may be repeated after a crash.

        Raises OSError or ``StorageError``.
        """

    async def launch(self, spec: AttemptSpec) -> AttemptState:
        """Start the attempt if it is NEW; returns the state after that. Of all callers exactly one starts it."""

    async def state(self, attempt_id: str) -> AttemptState:
        """The state of the attempt. One that was never prepared is NEW."""

    async def wait(self, attempt_id: str) -> AttemptState:
        """Wait while the attempt is RUNNING; returns its next state (NEW: the runner died before it started it)."""

    async def journal(self, attempt_id: str, offset: int) -> tuple[list[JournalEvent], int]:
        """Events from a byte offset on, and the next offset. Bounded: repeat until no event comes."""

    async def metrics(self, attempt_id: str, offset: int, limit_bytes: int) -> bytes:
        """Bytes of the metrics file from an offset on; empty at its end."""

    async def result(self, attempt_id: str) -> AttemptResult:
        """How the attempt ended. Raises FileNotFoundError unless it is DONE."""

    async def outputs(self, attempt_id: str, limits: OutputLimits) -> AttemptOutputs:
        """List the output files. Raises ``OutputRefused`` for a file that can't become an artifact."""

    async def store_log(self, attempt_id: str, store: ArtifactStore) -> StoredBlob | None:
        """Put the captured log into the store; None if it is empty."""

    async def cancel(self, attempt_id: str) -> None:
        """Ask the attempt to end. Returns when the request is durable; ``wait`` returns when the attempt has ended."""

    async def sweep(self, attempt_id: str) -> int:
        """Kill what a LOST attempt left running; returns the number of processes when none is left."""

    async def forget(self, attempt_id: str) -> None:
        """Remove all files of an attempt. Raises ValueError if it is RUNNING."""

    async def leftovers(self, older_than_seconds: float = 0.0) -> list[str]:
        """Ids of all attempts that have files here, and have had them for that long."""
