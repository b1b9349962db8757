"""Seeded faults under load: workers and runners are killed, workers frozen, all database connections cut.

MLP_CHAOS_SEEDS (such as ``1,2,3`` or ``1-20``) and MLP_CHAOS_SECONDS make it longer; ``-s`` shows the figures.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.broker.postgres import Broker
from app.database.models import pipeline_runs, stage_attempts, stage_runs
from app.database.models import workers as workers_table
from app.services.pipelines import create_pipeline
from app.services.runs import StartRun, start_run
from tests.chaos.invariants import FinalRows, violations
from tests.chaos.workers import CONCURRENT_RUNS, WorkerProcess, processes_of
from tests.execution.conftest import python, stage

SECONDS = float(os.environ.get("MLP_CHAOS_SECONDS", "8"))
PATIENCE_SECONDS = 60.0
BACKLOG_LIMIT = 8
"""Runs that are not final; more would only make the end slower."""

FAULTS = {"kill worker": 1, "freeze worker": 2, "thaw worker": 2, "kill runner": 4, "cut all": 1}
"""Names and weights."""

LEDGER = """
import os, random, sys, time
me = os.environ["MLP_STAGE_RUN_ID"] + "." + os.environ["MLP_ATTEMPT"]
ledger = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def write(what):
    os.write(ledger, f"{what} {me}\\n".encode())
    os.fsync(ledger)
write("begin")
time.sleep(random.uniform(0.1, 1.5))
write("end")
"""

TERMINATE_ALL = sa.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def seeds() -> list[int]:
    ranges = [part.partition("-") for part in os.environ.get("MLP_CHAOS_SEEDS", "1-3").split(",")]
    return [seed for first, _, last in ranges for seed in range(int(first), int(last or first) + 1)]


class Chaos:
    """One seed: what it does is decided by the seed, when it meets what is left to the machine."""

    def __init__(self, seed: int, engine: AsyncEngine, broker: Broker, workers: list[WorkerProcess]) -> None:
        self._pick = random.Random(seed)
        self._engine = engine
        self._broker = broker
        self._workers = workers
        self.done: Counter[str] = Counter()
        self.acknowledged: list[uuid.UUID] = []
        self.final_rows = FinalRows()

    async def rage(self, pipeline_id: uuid.UUID) -> None:
        """Faults and new runs until the time is over; then everybody is let go on."""
        await self._start_run(pipeline_id)
        await self._until_at_work()
        deadline = time.monotonic() + SECONDS
        async with anyio.create_task_group() as tasks:
            while time.monotonic() < deadline:
                unfinished = await self._look()
                if unfinished is not None and unfinished < BACKLOG_LIMIT:
                    tasks.start_soon(self._start_run, pipeline_id)
                await self._fault()
                await anyio.sleep(self._pick.uniform(0.1, 0.8))
        for worker in self._workers:
            worker.go_on()

    async def settle(self) -> float:
        """Seconds until every run is final."""
        began = time.monotonic()
        with anyio.move_on_after(PATIENCE_SECONDS):
            while await self._look() != 0:  # noqa: ASYNC110 (the workers are other processes)
                await anyio.sleep(0.2)
        return time.monotonic() - began

    async def _until_at_work(self) -> None:
        """Faults of workers that are still starting would prove little."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(await live_hosts(self._engine)) < len(self._workers):  # noqa: ASYNC110 (other processes)
                await anyio.sleep(0.1)

    async def _fault(self) -> None:
        worker = self._pick.choice(self._workers)
        (fault,) = self._pick.choices([*FAULTS], [*FAULTS.values()])
        match fault:
            case "kill worker":
                worker.kill()
                worker.start()
            case "freeze worker" if not worker.is_stopped:
                worker.stop()
            case "thaw worker" if worker.is_stopped:
                worker.go_on()
            case "kill runner":
                if not worker.kill_runner(self._pick):
                    return
            case "cut all":
                async with self._engine.connect() as connection:
                    await connection.execute(TERMINATE_ALL)
            case _:
                return
        self.done[fault] += 1

    async def _start_run(self, pipeline_id: uuid.UUID) -> None:
        """As a client does who wants an answer: again, with the same key, until there is one."""
        request = StartRun(pipeline_id, idempotency_key=str(uuid.uuid4()))
        while True:
            try:
                self.acknowledged.append(await start_run(self._engine, self._broker, request))
                return
            except (sa.exc.DBAPIError, OSError):
                await anyio.sleep(0.05)

    async def _look(self) -> int | None:
        try:
            return await self.final_rows.look(self._engine)
        except (sa.exc.DBAPIError, OSError):
            return None


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[list[WorkerProcess]]:
    with tempfile.TemporaryDirectory(prefix="mlp-chaos-", ignore_cleanup_errors=True) as folder:
        found = [WorkerProcess(Path(folder, name), database_url) for name in ("one", "two")]
        for worker in found:
            worker.home.mkdir()
            worker.start()
        yield found
        for worker in found:
            worker.end()


async def until_no_process_is_left(folder: Path, allowed: int) -> list[str]:
    """Command lines of what is left in the end, beyond the workers themselves."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        while len(processes_of(folder)) > allowed:  # noqa: ASYNC110 (they can't signal us)
            await anyio.sleep(0.2)
    return processes_of(folder)[allowed:]


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 3 * PATIENCE_SECONDS)
@pytest.mark.parametrize("seed", seeds())
async def test_no_fault_loses_a_run_or_completes_a_stage_twice(
    seed: int, engine: AsyncEngine, database_url: str, workers: list[WorkerProcess]
) -> None:
    folder = workers[0].home.parent
    ledger = folder / "ledger"
    ledger.touch()
    command = [*python(LEDGER), str(ledger)]
    diamond = [
        stage("a", command),
        stage("b", command, needs=["a"]),
        stage("c", command, needs=["a"]),
        stage("d", command, needs=["b", "c"]),
    ]
    async with Broker(database_url) as broker:
        chaos = Chaos(seed, engine, broker, workers)
        pipeline_id = await create_pipeline(engine, {"name": "diamond", "stages": diamond})
        await chaos.rage(pipeline_id)
        seconds = await chaos.settle()
    left = await until_no_process_is_left(folder, allowed=len(workers))
    found = await violations(engine, chaos.acknowledged, ledger)
    print(  # noqa: T201 (the figures are what a long run is for)
        f"\nseed {seed}: {await figures(engine)}; faults {dict(chaos.done)}; final after {seconds:.1f} s"
    )
    logs = "\n".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
    assert (found, chaos.final_rows.changed, left) == ([], [], []), logs
    assert chaos.final_rows.most_running <= CONCURRENT_RUNS


async def live_hosts(engine: AsyncEngine) -> set[uuid.UUID]:
    async with engine.connect() as connection:
        return set((await connection.execute(sa.select(workers_table.c.host_id))).scalars())


async def figures(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        counts = []
        for column in (pipeline_runs.c.status, stage_runs.c.status, stage_attempts.c.finish_reason):
            grouped = sa.select(column, sa.func.count()).group_by(column)
            rows = await connection.execute(grouped)
            counts.append(f"{column.table.name} { {str(row[0]): row[1] for row in rows} }")
    return ", ".join(counts)
