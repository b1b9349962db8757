"""A whole server in the process of the tests, and clients that are fetched once per session."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.execution.paths import WorkerHome
from app.main import running_server
from app.settings import load_settings
from app.web.server import RunningServer
from tests.execution.conftest import worker_home

__all__ = ["worker_home"]

FOLDER = Path(__file__).parent


@pytest.fixture
async def server(database_url: str, worker_home: WorkerHome) -> AsyncIterator[RunningServer]:
    settings = load_settings(database_url=database_url, home=worker_home.root, port=0, grace_seconds=0.5)
    started: asyncio.Future[RunningServer] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def hold() -> None:
        # A fixture is set up and torn down by different tasks, but a task group must end in the task it began in.
        async with running_server(settings) as server:
            started.set_result(server)
            await stop.wait()

    holder = asyncio.create_task(hold())
    await asyncio.wait([holder, started], return_when=asyncio.FIRST_COMPLETED)
    if holder.done():
        holder.result()
    yield started.result()
    stop.set()
    await holder


async def ask(server: RunningServer, query: str, **variables: Any) -> dict[str, Any]:
    """The data of one operation over HTTP."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.graphql_url, json={"query": query, "variables": variables}) as response,
    ):
        answer = await response.json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def start(server: RunningServer, *commands: list[str]) -> str:
    """Create and start a chain of stages with these commands; returns the id of the run."""
    stages = [
        {
            "name": f"stage {number}",
            "stageType": "CLEANUP",
            "dependencies": [f"stage {number - 1}"] if number else [],
            "config": {"command": command},
        }
        for number, command in enumerate(commands)
    ]
    created = await ask(
        server,
        "mutation ($input: CreatePipelineInput!) { createPipeline(input: $input) { pipeline { id } } }",
        input={"name": "chain", "stages": stages},
    )
    started = await ask(
        server,
        "mutation ($input: StartRunInput!) { startRun(input: $input) { run { id } } }",
        input={"pipelineId": created["createPipeline"]["pipeline"]["id"]},
    )
    run_id: str = started["startRun"]["run"]["id"]
    return run_id


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts beside the npm packages they need; skipped without Node, but never in CI."""
    folder = tmp_path_factory.mktemp("node")
    for file in [FOLDER / "package.json", *FOLDER.glob("*.js")]:
        shutil.copy(file, folder)
    return with_packages(folder)


def with_packages(folder: Path) -> Path:
    """The folder, after npm has installed the packages of its ``package.json``."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return unavailable("Node.js is not installed")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return folder if done.returncode == 0 else unavailable("npm could not fetch the packages")


def unavailable(why: str) -> Path:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
