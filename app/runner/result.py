"""Makes the result of an attempt durable. Its space on the disk is reserved before the stage can fill the disk."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

from app.runner import files
from app.runner.journal import JournalWriter
from app.runner.logs import BoundedLog
from app.runner.process import StartFailed
from app.runner.sampler import Sampler
from app.runner.spec import Spec
from app.runner.supervision import Supervision
from app.runner.system import now_seconds, oom_kills
from app.runner.tree import ProcessTree

RESERVED_BYTES = 16 << 10
END_FIELDS = ("finishReason", "exitCode", "signal")


class ResultWriter:
    """Writes ``result.json`` once. Its counters start when it is created."""

    def __init__(self, spec: Spec, journal: JournalWriter, log: BoundedLog) -> None:
        self._spec = spec
        self._journal = journal
        self._log = log
        self._started_at = time.time()
        self._started_seconds = now_seconds()
        self._oom_before = oom_kills()
        self._file = os.open(
            spec.path(files.UNFINISHED_RESULT), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with contextlib.suppress(OSError, AttributeError):  # no space, or not Linux: go on without
            os.posix_fallocate(self._file, 0, RESERVED_BYTES)

    def write_unstarted(self, reason: str, failure: StartFailed | None = None) -> None:
        """Writes the result of a command that never ran."""
        self._finish(finishReason=reason, error=failure.text if failure else None)

    def write_ended(self, tree: ProcessTree, sampler: Sampler, supervision: Supervision) -> None:
        """Writes the result after the main process has ended and no process of the tree is left."""
        code = os.waitstatus_to_exitcode(tree.main_status or 0)
        oom = [after - before for after, before in zip(oom_kills(), self._oom_before, strict=True)]
        self._finish(
            finishReason=supervision.stop_reason or _own_reason(code, any(oom)),
            exitCode=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            cpuSeconds=round(sampler.cpu_seconds, 3),
            peakMemoryBytes=sampler.peak_memory_bytes,
            peakCpuPercent=round(sampler.peak_cpu_percent, 1),
            peakProcessCount=sampler.peak_process_count,
            oom={"host": oom[0], "cgroup": oom[1]},
            stragglersKilled=supervision.stragglers_ended,
            stragglerNames=supervision.straggler_names,
        )

    def _finish(self, **outcome: object) -> None:
        self._log.close()
        result = {
            **UNSTARTED,
            **outcome,
            "startedAt": round(self._started_at, 3),
            "finishedAt": round(time.time(), 3),
            "wallSeconds": round(now_seconds() - self._started_seconds, 3),
            "logBytes": self._log.kept_bytes,
            "logDroppedBytes": self._log.dropped_bytes,
        }
        self._journal.write("finished", **{name: result[name] for name in END_FIELDS})
        self._journal.sync()
        self._publish(result)

    def _publish(self, result: dict[str, object]) -> None:
        content = json.dumps(result).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))
        os.fsync(self._file)
        os.rename(self._spec.path(files.UNFINISHED_RESULT), self._spec.path(files.RESULT))
        folder = os.open(self._spec.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


UNSTARTED: dict[str, object] = {
    "error": None,
    "exitCode": None,
    "signal": None,
    "cpuSeconds": 0.0,
    "peakMemoryBytes": 0,
    "peakCpuPercent": 0.0,
    "peakProcessCount": 0,
    "oom": {"host": 0, "cgroup": 0},
    "stragglersKilled": 0,
    "stragglerNames": [],
}


def _own_reason(code: int, memory_ran_out: bool) -> str:
    """Why a stage ended that the shim did not stop."""
    if code >= 0:
        return "EXITED"
    return "OUT_OF_MEMORY" if code == -signal.SIGKILL and memory_ran_out else "SIGNALED"
