"""Real attempts under real shims, and the certainty that none of their processes outlives its test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from app.execution.executors.base import AttemptResult, AttemptSpec, AttemptState
from app.execution.executors.local import LocalExecutor
from app.runner import files
from app.runner.journal import JournalEvent
from app.storage.local import LocalStore

DEADLINE_SECONDS = 20


class Attempts:
    """Starts commands and tells what became of them."""

    def __init__(self, root: Path) -> None:
        self.executor = LocalExecutor(root)
        self.store = LocalStore(root.with_name("store"))
        self.known: list[str] = []

    def new_id(self) -> str:
        self.known.append(f"{uuid.uuid4()}.1")
        return self.known[-1]

    async def prepare(self, *argv: str, **limits: Any) -> AttemptSpec:
        defaults = {"env": {"PATH": os.environ["PATH"]}, "grace_seconds": 5, "log_limit_bytes": 64 << 20}
        spec = AttemptSpec(self.new_id(), argv, **{**defaults, **limits})
        await self.executor.prepare(spec, self.store)
        return spec

    async def start(self, *argv: str, **limits: Any) -> str:
        spec = await self.prepare(*argv, **limits)
        assert await self.executor.launch(spec) is AttemptState.RUNNING
        return spec.attempt_id

    async def end(self, attempt_id: str) -> AttemptResult:
        async with asyncio.timeout(DEADLINE_SECONDS):
            state = await self.executor.wait(attempt_id)
        assert state is AttemptState.DONE, self.path(attempt_id, files.SHIM_ERRORS).read_text()
        return await self.executor.result(attempt_id)

    async def run(self, *argv: str, **limits: Any) -> AttemptResult:
        return await self.end(await self.start(*argv, **limits))

    async def cancel(self, attempt_id: str) -> AttemptResult:
        await self.executor.cancel(attempt_id)
        return await self.end(attempt_id)

    async def says(self, attempt_id: str, text: str) -> None:
        """Wait until the stage has printed the text."""
        await eventually(lambda: text.encode() in self.output(attempt_id))

    async def events(self, attempt_id: str, kind: str | None = None) -> list[JournalEvent]:
        events, _ = await self.executor.journal(attempt_id, 0)
        return [event for event in events if kind in (None, event.kind)]

    def output(self, attempt_id: str) -> bytes:
        path = self.path(attempt_id, files.LOG)
        return path.read_bytes() if path.exists() else b""

    def path(self, attempt_id: str, name: str) -> Path:
        return self.executor.folder(attempt_id) / name


@contextlib.asynccontextmanager
async def attempts_below(root: Path) -> AsyncIterator[Attempts]:
    """Fails when, at the end, a process of an attempt is left; ends it first."""
    attempts = Attempts(root)
    try:
        yield attempts
    finally:
        left = {attempt_id: living_processes(attempt_id) for attempt_id in attempts.known}
        for attempt_id in attempts.known:
            await attempts.executor.cancel(attempt_id)
            await attempts.executor.sweep(attempt_id)
            await attempts.executor.wait(attempt_id)
    assert not any(left.values()), left


def living_processes(attempt_id: str) -> list[int]:
    """Pids of all processes of this host which carry the attempt's marker in their environment."""
    marker = f"MLP_ATTEMPT_ID={attempt_id}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


async def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came true"
        await asyncio.sleep(0.01)
