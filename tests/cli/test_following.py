from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.client.connection import connected
from app.client.following import RunFollower
from app.client.pipeline_file import read_pipeline_file
from app.client.progress import RunProgress
from app.client.runs import RunRequest, read_run, register, start_run
from app.domain.vocabulary import RunStatus
from tests.cli.conftest import TOKEN, PipelineWriter, Server


class DroppingProxy:
    """A proxy of the server that can drop its connections."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusals = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()[:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            self.drop(refusals=0)
            listener.close()
            await listener.wait_closed()

    def drop(self, refusals: int) -> None:
        """Drop all connections, and the next ``refusals`` new ones."""
        self._refusals = refusals
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusals:
            self._refusals -= 1
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pass_on(reader, far_writer))
            tasks.create_task(self._pass_on(far_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def test_a_lost_connection_loses_and_repeats_nothing(
    server: Server, pipeline: PipelineWriter, tmp_path: Path
) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    file = read_pipeline_file(pipeline("interrupted", a="true", b=wait, c="true"))
    events: list[Mapping[str, Any]] = []
    proxy = DroppingProxy(server.url)

    def on_event(event: Mapping[str, Any]) -> None:
        events.append(event)
        if (event["kind"], event.get("stageRunId")) == ("STAGE_STARTED", [*progress.stages][1]):
            proxy.drop(refusals=5)
            (tmp_path / "go").touch()

    async with proxy.listening() as url, connected(url, TOKEN) as connection:
        run_id = await start_run(connection, await register(connection, file), RunRequest({}))
        progress = RunProgress.of(await read_run(connection, run_id))
        async with asyncio.timeout(30):
            await RunFollower(connection, progress, on_event, details=True).follow()
    assert progress.status is RunStatus.COMPLETED
    assert [event["kind"] for event in events] == await kinds_of_events(server, run_id)


async def test_a_run_that_has_ended_is_followed_from_its_beginning(
    server: Server, pipeline: PipelineWriter
) -> None:
    file = read_pipeline_file(pipeline("over", a="true"))
    async with connected(server.url, TOKEN) as connection:
        run_id = await start_run(connection, await register(connection, file), RunRequest({}))
    first = await kinds_of_events(server, run_id)
    assert (first[0], first[-1]) == ("RUN_QUEUED", "RUN_FINISHED")
    assert await kinds_of_events(server, run_id) == first


async def kinds_of_events(server: Server, run_id: str) -> list[str]:
    """The events of a follower whose connection is never lost."""
    kinds: list[str] = []
    async with connected(server.url, TOKEN) as connection, asyncio.timeout(30):
        progress = RunProgress.of(await read_run(connection, run_id))
        await RunFollower(connection, progress, lambda event: kinds.append(event["kind"])).follow()
    return kinds
