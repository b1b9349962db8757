"""Real attempts, and the certainty that none of their processes outlives its test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from app.domain.specs import StageConfig
from app.execution.executors.base import AttemptResult, AttemptSpec, AttemptState, Executor
from app.execution.executors.local import LocalExecutor
from app.runner import files
from app.runner.journal import JournalEvent
from app.storage.base import ArtifactStore
from app.storage.local import LocalStore

DEADLINE_SECONDS = 20
LOG_LIMIT_BYTES = 64 << 20


class Attempts:
    """Starts commands in an executor and tells how they ended."""

    def __init__(self, executor: Executor, store: ArtifactStore) -> None:
        self.executor = executor
        self.store = store
        self.known: list[str] = []

    def new_id(self) -> str:
        self.known.append(f"{uuid.uuid4()}.1")
        return self.known[-1]

    def spec(self, *command: str, **options: Any) -> AttemptSpec:
        """``options``: fields of ``StageConfig`` and of ``AttemptSpec``."""
        config = {
            field.name: options.pop(field.name) for field in fields(StageConfig) if field.name in options
        }
        return AttemptSpec(
            self.new_id(),
            StageConfig(command, **{"env": {"PATH": os.environ["PATH"]}, **config}),
            **{"grace_seconds": 5, "log_limit_bytes": LOG_LIMIT_BYTES, **options},
        )

    async def prepare(self, *command: str, **options: Any) -> AttemptSpec:
        spec = self.spec(*command, **options)
        await self.executor.prepare(spec, self.store)
        return spec

    async def start(self, *command: str, **options: Any) -> str:
        spec = await self.prepare(*command, **options)
        assert await self.executor.launch(spec) is AttemptState.RUNNING
        return spec.attempt_id

    async def end(self, attempt_id: str) -> AttemptResult:
        async with asyncio.timeout(DEADLINE_SECONDS):
            state = await self.executor.wait(attempt_id)
        assert state is AttemptState.DONE
        return await self.executor.result(attempt_id)

    async def run(self, *command: str, **options: Any) -> AttemptResult:
        return await self.end(await self.start(*command, **options))

    async def cancel(self, attempt_id: str) -> AttemptResult:
        await self.executor.cancel(attempt_id)
        return await self.end(attempt_id)

    async def log(self, attempt_id: str) -> bytes:
        part = await self.executor.read_log(attempt_id, 0, LOG_LIMIT_BYTES)
        return b"" if part is None else part.data

    async def says(self, attempt_id: str, text: str) -> None:
        """Waits until the stage has printed the text."""

        async def is_said() -> bool:
            return text.encode() in await self.log(attempt_id)

        await eventually(is_said)

    async def events(self, attempt_id: str, kind: str | None = None) -> list[JournalEvent]:
        events, _ = await self.executor.journal(attempt_id, 0)
        return [event for event in events if kind in (None, event.kind)]


class LocalAttempts(Attempts):
    """Attempts in folders of this machine, whose files a test may look at and change."""

    executor: LocalExecutor

    def __init__(self, root: Path) -> None:
        super().__init__(LocalExecutor(root), LocalStore(root.with_name("store")))

    async def end(self, attempt_id: str) -> AttemptResult:
        try:
            return await super().end(attempt_id)
        except AssertionError as error:
            error.add_note(self.path(attempt_id, files.SHIM_ERRORS).read_text())
            raise

    def output(self, attempt_id: str) -> bytes:
        path = self.path(attempt_id, files.LOG)
        return path.read_bytes() if path.exists() else b""

    def path(self, attempt_id: str, name: str) -> Path:
        return self.executor.folder(attempt_id) / name


@contextlib.asynccontextmanager
async def none_left(attempts: Attempts) -> AsyncIterator[None]:
    """Fails when, at the end, a process of an attempt is left; ends it first."""
    try:
        yield
    finally:
        left = {attempt_id: living_processes(attempt_id) for attempt_id in attempts.known}
        for attempt_id in attempts.known:
            await attempts.executor.cancel(attempt_id)
            await attempts.executor.sweep(attempt_id)
            await attempts.executor.wait(attempt_id)
    assert not any(left.values()), left


@contextlib.asynccontextmanager
async def attempts_below(root: Path) -> AsyncIterator[LocalAttempts]:
    """Attempts in folders below ``root``."""
    attempts = LocalAttempts(root)
    async with none_left(attempts):
        yield attempts


def living_processes(attempt_id: str) -> list[int]:
    """Pids of all processes of this host that carry the attempt's marker in their environment."""
    marker = f"MLP_ATTEMPT_ID={attempt_id}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


async def eventually(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Waits until a condition, which may be asynchronous, is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "the awaited condition never came true"
        await asyncio.sleep(0.01)
