"""A worker process that is SIGKILLed: its stages go on, its successor loses nothing and starts nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from app.domain.vocabulary import RunStatus, StageStatus
from tests.execution.conftest import Engine, python, stage

WORKER = """
import asyncio
from app.wiring import work
from app.settings import load_settings
asyncio.run(work(load_settings()))
"""

COUNTER = """
import os, sys, time
with open(sys.argv[1], "a") as ledger:
    print(os.environ["MLP_STAGE"], "began", file=ledger, flush=True)
    for number in range(int(sys.argv[2])):
        print("line", number, flush=True)
        time.sleep(0.05)
    print(os.environ["MLP_STAGE"], "ended", file=ledger, flush=True)
"""


@contextlib.contextmanager
def worker_process(engine: Engine, database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "DATABASE_URL": database_url, "MLP_HOME": str(engine.home.root)}
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", WORKER], env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until_written(path: Path, text: str) -> None:
    with anyio.fail_after(30):
        while not (path.exists() and text in path.read_text()):  # noqa: ASYNC110 (written by another process)
            await anyio.sleep(0.02)


async def test_a_killed_worker_loses_nothing_and_its_successor_starts_no_stage_twice(
    idle: Engine, database_url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    run_id = await idle.start(
        stage("first", [*python(COUNTER), str(ledger), "40"]),
        stage("beside", [*python(COUNTER), str(ledger), "60"]),
        stage("second", [*python(COUNTER), str(ledger), "5"], needs=["first"]),
    )
    with worker_process(idle, database_url) as worker:
        await until_written(ledger, "beside began")
        await until_written(ledger, "first began")
        await idle.until(run_id, lambda stages: stages["first"].status is StageStatus.RUNNING)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    with worker_process(idle, database_url):
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 3)
    assert sorted(ledger.read_text().splitlines()) == sorted(
        f"{name} {what}" for name in stages for what in ("began", "ended")
    )
    assert {row.attempt_number for row in stages.values()} == {1}
    assert await idle.log(stages["first"].id) == b"".join(b"line %d\n" % number for number in range(40))


async def test_a_stage_that_ends_while_no_worker_lives_is_collected_afterwards(
    idle: Engine, database_url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    run_id = await idle.start(stage("only", [*python(COUNTER), str(ledger), "20"]))
    with worker_process(idle, database_url) as worker:
        await until_written(ledger, "began")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    await until_written(ledger, "ended")
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    events = [event.kind for event in await idle.events(run_id)]
    assert events.count("STAGE_STARTED") == events.count("STAGE_FINISHED") == 1


async def test_a_cancel_asked_for_while_no_worker_lives_is_carried_out_at_the_next_start(
    idle: Engine, database_url: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    run_id = await idle.start(stage("only", [*python(COUNTER), str(ledger), "6000"]))
    with worker_process(idle, database_url) as worker:
        await until_written(ledger, "began")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    await idle.cancel(run_id)
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.CANCELLED
    assert "ended" not in ledger.read_text()


async def test_a_killed_runner_is_a_lost_attempt_and_the_stage_is_tried_again(
    idle: Engine, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    async with idle.supervised():
        run_id = await idle.start(stage("only", [*python(COUNTER), str(ledger), "40"]))
        await until_written(ledger, "began")
        await idle.until(run_id, lambda stages: stages["only"].status is StageStatus.RUNNING)
        only = (await idle.stages(run_id))["only"]
        kill_runner(idle, f"{only.id}.1")
        run = await idle.finished(run_id)
    attempts = [(row.attempt, row.finish_reason) for row in await idle.attempts(only.id)]
    assert run.status is RunStatus.COMPLETED
    assert attempts == [(1, "LOST"), (2, "EXITED")]
    assert ledger.read_text().splitlines() == ["only began", "only began", "only ended"]


def kill_runner(engine: Engine, attempt_id: str) -> None:
    identity = json.loads((engine.home.attempts / attempt_id / "lock").read_text())
    os.kill(identity["pid"], signal.SIGKILL)


@pytest.mark.parametrize("moment", range(4))
async def test_a_worker_killed_at_any_moment_of_a_short_run_still_completes_it(
    idle: Engine, database_url: str, tmp_path: Path, moment: int
) -> None:
    """Four kills along the life of a run: near its claim, its start, its collection, its end."""
    ledger = tmp_path / "ledger"
    run_id = await idle.start(
        stage("a", [*python(COUNTER), str(ledger), "2"]),
        stage("b", [*python(COUNTER), str(ledger), "2"], needs=["a"]),
    )
    kinds = ("STAGE_CLAIMED", "STAGE_STARTED", "STAGE_COLLECTING", "STAGE_FINISHED")
    with worker_process(idle, database_url) as worker:
        with anyio.fail_after(30), idle.notifier.listen(f"run:{run_id}") as mailbox:
            while kinds[moment] not in [event.kind for event in await idle.events(run_id)]:
                await mailbox.wait(0.2)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    assert ledger.read_text().splitlines() == ["a began", "a ended", "b began", "b ended"]
