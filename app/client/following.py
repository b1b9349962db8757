"""Follows a run to its end by subscriptions; lost connections are resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from app.client import documents
from app.client.connection import Connection
from app.client.errors import ClientError
from app.client.progress import RunProgress, StageProgress
from app.client.runs import read_run

TAILS_LIMIT = 8
TAIL_BYTES = 500
_PAUSE_SECONDS = 0.5

OnEvent = Callable[[Mapping[str, Any]], None]


class RunFollower:
    """Updates ``progress`` with each event, then calls ``on_event``: once per event, in order.

    ``details``: also follow the resources and the logs of running stages.
    """

    def __init__(
        self, connection: Connection, progress: RunProgress, on_event: OnEvent, *, details: bool = False
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._on_event = on_event
        self._details = details
        self._tails: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Return when the run has ended and all its events have been handled."""
        async with asyncio.TaskGroup() as tasks:
            samples = tasks.create_task(self._follow_samples()) if self._details else None
            await self._follow_events(tasks)
            for task in (samples, *self._tails.values()):
                if task is not None:
                    task.cancel()

    async def _follow_events(self, tasks: asyncio.TaskGroup) -> None:
        await self._read_events(tasks)
        while not self._progress.is_final:
            # The server completes a stream early when it is about to stop.
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._read_events(tasks)

    async def _read_events(self, tasks: asyncio.TaskGroup) -> None:
        progress = self._progress
        stream = self._connection.subscribe(
            documents.RUN_EVENTS, lambda: {"runId": progress.id, "after": progress.cursor}
        )
        async with aclosing(stream) as messages:
            async for message in messages:
                await self._apply(message["runEvents"])
                if self._details:
                    self._follow_logs(tasks)

    async def _apply(self, batch: Mapping[str, Any]) -> None:
        if batch["resyncRequired"]:
            # Events have been deleted, but their effects are in the run itself.
            self._progress.replace_by(await read_run(self._connection, self._progress.id))
        for event in batch["events"]:
            self._progress.apply_event(event)
            self._on_event(event)
        self._progress.cursor = batch["cursor"]

    async def _follow_samples(self) -> None:
        progress = self._progress
        stream = self._connection.subscribe(
            documents.RESOURCE_SAMPLES, lambda: {"runId": progress.id, "after": progress.samples_cursor}
        )
        async with aclosing(stream) as messages:
            async for message in messages:
                batch = message["resourceSamples"]
                progress.apply_samples(batch["samples"])
                progress.samples_cursor = batch["cursor"]

    def _follow_logs(self, tasks: asyncio.TaskGroup) -> None:
        """Follow the logs of running stages, a few at a time."""
        running = {stage.id: stage for stage in self._progress.running()}
        for stage_id in self._tails.keys() - running.keys():
            self._tails.pop(stage_id).cancel()
        for stage_id in [*running.keys() - self._tails.keys()][: TAILS_LIMIT - len(self._tails)]:
            self._tails[stage_id] = tasks.create_task(self._follow_log(running[stage_id]))

    async def _follow_log(self, stage: StageProgress) -> None:
        stream = self._connection.subscribe(
            documents.STAGE_LOG, lambda: {"stageRunId": stage.id, "afterOffset": -TAIL_BYTES}
        )
        end = ""
        # A run can be followed without its logs.
        with suppress(ClientError):
            async with aclosing(stream) as messages:
                async for message in messages:
                    end = (end + message["stageLog"]["text"])[-TAIL_BYTES:]
                    stage.note = next(filter(str.strip, reversed(end.splitlines())), stage.note)
