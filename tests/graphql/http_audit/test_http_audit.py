"""The audit suite of npm's graphql-http against a live server. Skipped where it can't be installed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
AUDITS = 61


@pytest.fixture(scope="session")
async def audit_folder() -> Path:
    """This folder with its packages installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("the audit needs Node.js (node and npm on the PATH)")
    if not (FOLDER / "node_modules" / "graphql-http").is_dir():
        options = ("install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        code, output = await run(npm, *options, timeout_seconds=60)
        if code != 0:
            pytest.skip(f"the packages of the audit can't be installed: {output[-300:]}")
    return FOLDER


async def test_all_audits_of_graphql_over_http_pass(server: str, audit_folder: Path) -> None:
    code, output = await run("node", "audit.js", f"http://{server}/graphql", timeout_seconds=30)
    assert code == 0, output
    audits = [json.loads(line) for line in output.splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS


async def run(*command: str, timeout_seconds: float) -> tuple[int | None, str]:
    """Exit code and output of a command in this folder."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
    return process.returncode, output.decode(errors="replace")
