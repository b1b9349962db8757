"""Common GraphQL clients follow a run to its end, and the stream completes by itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from gql import Client, gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport

from app.web.server import RunningServer
from tests.clients.conftest import FOLDER, ask, start

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


@pytest.mark.parametrize("client", ["graphql-ws", "urql", "apollo"])
async def test_a_client_whose_socket_is_cut_twenty_times_sees_every_event_once(
    server: RunningServer, node_folder: Path, client: str
) -> None:
    run_id = await start(server, *[["sleep", "0.2"]] * 12)
    url = server.graphql_url.replace("http", "ws")
    process = await asyncio.create_subprocess_exec(
        "node", "drop.js", client, url, run_id, "20", cwd=node_folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    received = json.loads(output)
    log = await ask(server, "query ($id: ID!) { run(id: $id) { status lastEventSeq } }", id=run_id)
    assert log["run"]["status"] == "COMPLETED"
    assert received["seen"] == list(range(1, log["run"]["lastEventSeq"] + 1))
    assert len(received["seenAtCuts"]) == 20
    assert len(set(received["seenAtCuts"])) >= 8, "most cuts came before or after all events"


async def test_a_client_whose_socket_is_cut_after_every_piece_sees_each_line_of_a_log_once(
    server: RunningServer, node_folder: Path
) -> None:
    lines = [f"line {number}\n" for number in range(12)]
    run_id = await start(server, ["sh", "-c", "".join(f"echo {line.strip()}; sleep 0.1;" for line in lines)])
    query = "query ($id: ID!) { run(id: $id) { stageRuns { id } } }"
    [stage_run] = (await ask(server, query, id=run_id))["run"]["stageRuns"]
    process = await asyncio.create_subprocess_exec(
        *("node", "drop_log.js", server.graphql_url.replace("http", "ws"), stage_run["id"]),
        cwd=node_folder,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    received = json.loads(output)
    assert received["text"] == "".join(lines)
    assert received["cuts"] > 1


def test_the_documentation_shows_the_lines_that_were_tested() -> None:
    _, comment_free = (FOLDER / "resuming.js").read_text().split("\nexport ")
    assert f"export {comment_free.strip()}" in (FOLDER.parents[1] / "docs" / "clients.md").read_text()
