"""The clients people use off the shelf follow a run to its end, and the stream completes by itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gql import Client, gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport

from app.main import RunningServer
from tests.clients.conftest import start

KINDS = [
    "RUN_QUEUED",
    "RUN_STARTED",
    *("STAGE_CLAIMED", "STAGE_STARTED", "STAGE_COLLECTING", "STAGE_FINISHED"),
    "STAGE_READIED",
    *("STAGE_CLAIMED", "STAGE_STARTED", "STAGE_COLLECTING", "STAGE_FINISHED"),
    "RUN_FINISHED",
]
FOLLOW = "subscription ($runId: ID!) { runEvents(runId: $runId) { cursor events { seq kind } } }"


async def test_gql_of_python_follows_a_run_to_its_end(server: RunningServer) -> None:
    run_id = await start(server, ["sleep", "0.3"], ["sleep", "0.3"])
    transport = AIOHTTPWebsocketsTransport(url=server.graphql_url.replace("http", "ws"))
    request = gql(FOLLOW)
    request.variable_values = {"runId": run_id}
    async with asyncio.timeout(30), Client(transport=transport) as session:
        batches = [answer["runEvents"] async for answer in session.subscribe(request)]
    events = [event for batch in batches for event in batch["events"]]
    assert [event["kind"] for event in events] == KINDS
    assert [event["seq"] for event in events] == list(range(1, len(KINDS) + 1))


async def test_graphql_ws_of_npm_follows_a_run_to_its_end(server: RunningServer, node_folder: Path) -> None:
    run_id = await start(server, ["sleep", "0.3"], ["sleep", "0.3"])
    url = server.graphql_url.replace("http", "ws")
    process = await asyncio.create_subprocess_exec(
        "node", "follow.js", url, run_id, cwd=node_folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    *events, end = [json.loads(line) for line in output.splitlines()]
    assert [event["kind"] for event in events] == KINDS
    assert (end, process.returncode) == ({"completed": True}, 0)
