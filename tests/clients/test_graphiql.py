"""GraphiQL in a real browser: the page works offline, answers queries and streams subscriptions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.web.server import RunningServer
from app.web.ui import STATIC_FOLDER
from tests.clients.conftest import start, unavailable

NESTED = (
    "{ runs(first: 1) { nodes { status stageRuns { name status artifacts(first: 5) { nodes { name } } } } } }"
)
FOLLOW = "subscription ($runId: ID!) { runEvents(runId: $runId) { events { seq kind } } }"
RETRY = "mutation ($input: RetryRunInput!) { retryRun(input: $input) { run { triggerType } } }"
SAMPLES = (
    "subscription ($runId: ID!) { resourceSamples(runId: $runId) { samples { memoryMb processCount } } }"
)


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        unavailable("no Chromium is installed")
    if not (STATIC_FOLDER / "graphiql.html").exists():
        unavailable("the page is not built (npm packages could not be had)")
    return str(found)


async def explore(
    server: RunningServer, node_folder: Path, chromium: str, query: str, wanted: str, **variables: Any
) -> dict[str, Any]:
    """The text of the page once its answer contains ``wanted``, and the errors of its console."""
    picture = os.environ.get("MLP_TEST_PICTURES")
    process = await asyncio.create_subprocess_exec(
        *("node", "explore.js", server.graphql_url, query, json.dumps(variables), wanted),
        *([f"{picture}/{query.split()[1].strip('({')}-{wanted}.png"] if picture else []),
        cwd=node_folder,
        env={**os.environ, "CHROMIUM": chromium},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0
    seen: dict[str, Any] = json.loads(output)
    return seen


async def test_the_page_answers_a_nested_query_and_follows_a_run(
    server: RunningServer, node_folder: Path, chromium: str
) -> None:
    command = ["sh", "-c", "echo hello; sleep 1; echo done > $MLP_OUTPUT_DIR/note.txt"]
    run_id = await start(server, command)
    events = await explore(server, node_folder, chromium, FOLLOW, "RUN_FINISHED", runId=run_id)
    samples = await explore(server, node_folder, chromium, SAMPLES, "processCount", runId=run_id)
    nested = await explore(server, node_folder, chromium, NESTED, "note.txt")
    assert events["problems"] == samples["problems"] == nested["problems"] == []
    assert "COMPLETED" in nested["shown"]


async def test_a_run_that_a_person_starts_on_the_page_is_manual(
    server: RunningServer, node_folder: Path, chromium: str
) -> None:
    run_id = await start(server, ["true"])
    await explore(server, node_folder, chromium, FOLLOW, "RUN_FINISHED", runId=run_id)
    again = {"runId": run_id, "fromFailed": False}
    retried = await explore(server, node_folder, chromium, RETRY, "triggerType", input=again)
    assert "MANUAL" in retried["shown"]
