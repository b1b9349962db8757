"""Programs on clients generated from ``schema.graphql`` pass their type checks and work."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.execution.paths import WorkerHome
from app.main import running_server
from app.settings import load_settings
from app.web.server import RunningServer
from tests.clients.conftest import FOLDER, ask, start, unavailable, with_packages

SCHEMA = FOLDER.parents[1] / "schema.graphql"
WITH_ARIADNE = ("run", "--no-project", "--with", "ariadne-codegen==0.19.0")
"""An environment of its own: it needs an older graphql-core."""


@pytest.fixture(scope="module")
def typescript_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in TypeScript beside the types and the list of documents that graphql-codegen made."""
    folder = with_packages(sources_in(tmp_path_factory.mktemp("typescript")))
    run(folder, "node", "generate.js", "schema.graphql", "operations.graphql", "generated")
    return folder


@pytest.fixture(scope="module")
def python_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in Python beside the client that ariadne-codegen made of its operations."""
    folder = sources_in(tmp_path_factory.mktemp("python"))
    if shutil.which("uv") is None:
        return unavailable("uv is not installed")
    run(folder, "uv", *WITH_ARIADNE, "ariadne-codegen", "--config", "ariadne.toml")
    return folder


def sources_in(folder: Path) -> Path:
    shutil.copytree(FOLDER / "codegen", folder, dirs_exist_ok=True)
    shutil.copy(SCHEMA, folder)
    return folder


def run(folder: Path, *command: str, expected: int = 0) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr if expected else done.stdout


async def output(folder: Path, *command: str) -> Any:
    """The last line of the output, which is JSON."""
    text = await asyncio.to_thread(run, folder, *command)
    return json.loads(text.splitlines()[-1])


async def ended_run(server: RunningServer) -> str:
    line = r"{\"name\": \"loss\", \"value\": 0.5}"
    run_id = await start(server, ["sh", "-c", f'echo "{line}" >> $MLP_METRICS; echo 1 > $MLP_OUTPUT_DIR/x'])
    status = "query($id: ID!) { run(id: $id) { status } }"
    async with asyncio.timeout(30):
        while (await ask(server, status, id=run_id))["run"]["status"] != "COMPLETED":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return run_id


async def test_a_typescript_program_on_generated_types_is_checked_and_runs(
    server: RunningServer, typescript_folder: Path
) -> None:
    checked = run(typescript_folder, "node", "node_modules/typescript/bin/tsc", expected=2)
    wrong = [line for line in checked.splitlines() if "error TS" in line]
    assert [line.partition(",")[0] for line in wrong] == ["wrong.ts(4", "wrong.ts(5", "wrong.ts(6"], checked
    learned = await output(
        typescript_folder, "node", "built/program.js", server.graphql_url, await ended_run(server)
    )
    assert_learned(learned)


async def test_a_server_that_trusts_the_generated_documents_runs_the_program_and_nothing_else(
    server: RunningServer, typescript_folder: Path, database_url: str, worker_home: WorkerHome
) -> None:
    run(typescript_folder, "node", "node_modules/typescript/bin/tsc", expected=2)
    program = ("node", "built/program.js")
    run_id = await ended_run(server)
    settings = load_settings(
        database_url=database_url,
        home=worker_home.root,
        port=0,
        trusted_documents=typescript_folder / "generated" / "persisted-documents.json",
    )
    async with running_server(settings, worker=False) as trusting:
        learned = await output(typescript_folder, *program, trusting.graphql_url, run_id, "hashes")
        refused = await asyncio.to_thread(
            run, typescript_folder, *program, trusting.graphql_url, run_id, expected=1
        )
    assert_learned(learned)
    assert "DOCUMENT_NOT_TRUSTED" in refused


def assert_learned(learned: dict[str, Any]) -> None:
    assert learned.pop("events") > 5
    assert learned == {
        "status": "COMPLETED",
        "year": dt.datetime.now(dt.UTC).year,
        "values": 1,
        "sizes": True,
        "notes": "typed",
        "codes": [],
        "followed": "COMPLETED",
    }


async def test_a_python_program_on_a_generated_client_is_checked_and_runs(
    server: RunningServer, python_folder: Path
) -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    run(python_folder, *mypy, "python_program.py")
    run_id = await ended_run(server)
    learned = await output(
        python_folder, "uv", *WITH_ARIADNE, "python", "python_program.py", server.graphql_url, run_id
    )
    assert learned.pop("events") > 5
    assert learned == {
        "status": "COMPLETED",
        "year": dt.datetime.now(dt.UTC).year,
        "stages": ["stage 0"],
        "sizes": [2],
        "notes": "typed",
        "tags": ["python"],
        "errors": [],
    }
