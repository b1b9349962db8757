"""A server that stops does not wait for its subscribers, and asks each of them to reconnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess

from live_run import LiveRun
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.domain.events import EventKind
from tests.cli.conftest import MLP, TOKEN, Mlp, Running

SUBSCRIBERS = 200
STALLED = 10
SERVICE_RESTART = 1012
EVENTS = "subscription ($id: ID!) { runEvents(runId: $id) { cursor events { seq } } }"


async def test_a_server_with_many_subscribers_stops_in_order(
    mlp: Mlp, engine: AsyncEngine, database_url: str
) -> None:
    run = await LiveRun.insert(engine)
    await run.record(EventKind.RUN_STARTED)
    running = start_with_few_files(mlp, DATABASE_URL=database_url)
    try:
        line = await asyncio.to_thread(running.line_with, "is ready: ")
        url = line.split("ready: http")[1].strip()
        async with contextlib.AsyncExitStack() as stack:
            subscribers = [
                # Subscribers that stop reading take only the frames that they have awaited.
                await stack.enter_async_context(
                    connect(
                        f"ws{url}",
                        subprotocols=[Subprotocol("graphql-transport-ws")],
                        max_queue=0 if number < STALLED else None,
                        close_timeout=1,
                    )
                )
                for number in range(SUBSCRIBERS)
            ]
            await asyncio.gather(*(subscribe(subscriber, run) for subscriber in subscribers))
            running.signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.end) == 0, running.errors
            codes = await asyncio.gather(*(code_of_close(subscriber) for subscriber in subscribers[STALLED:]))
            assert set(codes) == {SERVICE_RESTART}
        assert "Traceback" not in running.errors
    finally:
        running.kill()


def start_with_few_files(mlp: Mlp, **env: str) -> Running:
    """A server with a limit of open files below the number of its subscribers, unless it raises the limit."""
    command = ["sh", "-c", f'ulimit -Sn {SUBSCRIBERS - 50} && exec "$@"', "sh", MLP, "serve", "--no-worker"]
    process = subprocess.Popen(
        [*command, "--port", "0"],
        env=mlp.environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Running(process)


async def subscribe(subscriber: ClientConnection, run: LiveRun) -> None:
    payload = {"query": EVENTS, "variables": {"id": str(run.run_id)}}
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}}
    await subscriber.send(json.dumps(init))
    assert json.loads(await subscriber.recv()) == {"type": "connection_ack"}
    await subscriber.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
    assert json.loads(await subscriber.recv())["type"] == "next"


async def code_of_close(subscriber: ClientConnection) -> int | None:
    await asyncio.wait_for(subscriber.wait_closed(), 10)
    return subscriber.close_code
