"""Turns a claimed attempt into the specification its runner executes: command, environment, inputs."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.attempts import Attempt, InputFile, inputs_of
from app.domain.units import BYTES_PER_MB
from app.execution.executors.base import AttemptSpec, Executor
from app.execution.metric_file import METRICS
from app.storage.base import ArtifactStore

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class AttemptLimits:
    """What every attempt of this worker is held to."""

    grace_seconds: float = 10.0
    log_limit_bytes: int = 64 * 2**20
    artifact_limit_bytes: int = 10 * 2**30
    artifact_limit_files: int = 1000
    artifact_limit_depth: int = 16


async def prepare_attempt(
    reads: AsyncEngine, executor: Executor, store: ArtifactStore, attempt: Attempt, limits: AttemptLimits
) -> AttemptSpec:
    """Makes the attempt's folder with parameters and inputs; may be repeated after a crash.

    Raises OSError or StorageError when an input can't be put in place.
    """
    folder = await executor.prepare(attempt.id)
    await to_thread.run_sync(_write_params, folder, attempt.spec["params"])
    async with reads.connect() as connection:
        inputs = await inputs_of(connection, attempt.depends_on)
    await _place_inputs(folder / "inputs", inputs, store)
    memory_mb = attempt.spec["resources"]["memoryMb"]
    return AttemptSpec(
        attempt_id=attempt.id,
        argv=attempt.spec["command"],
        env=stage_environment(attempt, folder),
        cwd=Path(attempt.spec["workdir"] or folder / "work"),
        timeout_seconds=_time_left_seconds(attempt),
        grace_seconds=limits.grace_seconds,
        log_limit_bytes=limits.log_limit_bytes,
        memory_limit_bytes=memory_mb * BYTES_PER_MB if memory_mb else None,
    )


def _write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))


def _time_left_seconds(attempt: Attempt) -> float | None:
    """The stage's own limit or what is left of the run's, so that both hold while the server is down."""
    limits = [attempt.spec["timeoutSeconds"]] if attempt.spec["timeoutSeconds"] else []
    if attempt.seconds_to_deadline is not None:
        limits.append(max(0.1, attempt.seconds_to_deadline))
    return min(limits, default=None)


def stage_environment(attempt: Attempt, folder: Path) -> dict[str, str]:
    """Built from empty, never from the server's own environment, which may hold secrets.

    The server's interpreter comes first on PATH, so that ``python`` is one that has its packages.
    """
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", _DEFAULT_PATH)]),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TZ": os.environ.get("TZ", "UTC"),
        "PYTHONUNBUFFERED": "1",
    }
    contract = {
        "MLP_RUN_ID": str(attempt.run_id),
        "MLP_STAGE": attempt.stage_name,
        "MLP_STAGE_RUN_ID": str(attempt.stage_run_id),
        "MLP_ATTEMPT": str(attempt.number),
        "MLP_PARAMS": str(folder / "params.json"),
        "MLP_INPUTS": str(folder / "inputs"),
        "MLP_OUTPUT_DIR": str(folder / "out"),
        "MLP_METRICS": str(folder / METRICS),
        "MLP_RESULT": str(folder / "stage_result.json"),
    }
    return {**own, **attempt.spec["env"], **contract}


async def _place_inputs(folder: Path, inputs: Sequence[InputFile], store: ArtifactStore) -> None:
    """``<folder>/<dependency>/<path>`` for every input: private read-only copies in read-only folders."""
    for file in inputs:
        target = folder / file.dependency / file.relative_path
        await to_thread.run_sync(_make_room, folder, target)
        await store.materialise(file.sha256, target)
    await to_thread.run_sync(_protect, folder)


def _make_room(folder: Path, target: Path) -> None:
    """Opens the folders for writing again, in case a crash came after they were protected."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in [*target.relative_to(folder).parents]:
        (folder / parent).chmod(stat.S_IRWXU)
    target.unlink(missing_ok=True)


def _protect(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        Path(path).chmod(stat.S_IRUSR | stat.S_IXUSR)
