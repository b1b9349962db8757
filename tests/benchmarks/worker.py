"""A real worker on a PostgreSQL of its own, for the benchmarks of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import create_engine
from app.database.tables import pipeline_runs
from app.domain.moves import RUN_FINAL
from app.notifications.postgres import PostgresNotifier
from app.postgres.server import EmbeddedPostgres
from app.services.pipelines import create_pipeline
from app.services.runs import StartRun, cancel_run, start_run

MLP = str(Path(sys.executable).with_name("mlp"))


@dataclass(frozen=True)
class Bench:
    """A database, and a folder for the homes of workers."""

    folder: Path
    url: str
    engine: AsyncEngine
    notifier: PostgresNotifier

    async def queue(self, *stages: dict[str, Any], runs: int = 1) -> None:
        """Queues runs of a new pipeline."""
        pipeline_id = await create_pipeline(self.engine, {"name": "benchmark", "stages": list(stages)})
        for _ in range(runs):
            await start_run(self.engine, self.notifier, StartRun(pipeline_id))

    async def cancel_all(self) -> None:
        """Requests the end of every run."""
        async with self.engine.connect() as connection:
            open_runs = sa.select(pipeline_runs.c.id).where(pipeline_runs.c.status.not_in(RUN_FINAL))
            run_ids = list((await connection.execute(open_runs)).scalars())
        for run_id in run_ids:
            await cancel_run(self.engine, self.notifier, run_id, "the benchmark is over")

    async def one(self, statement: str) -> Any:
        """The only row of a query."""
        async with self.engine.connect() as connection:
            return (await connection.execute(sa.text(statement))).one()

    @contextlib.contextmanager
    def worker(self, **settings: object) -> Iterator[psutil.Process]:
        """``mlp work`` with these settings, as a psutil process."""
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.url,
            "MLP_HOME": str(self.folder / "home"),
            **{name: str(value) for name, value in settings.items()},
        }
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen([MLP, "work"], env=env, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)

    async def until(self, statement: str, number: int) -> None:
        """Waits until the query counts that many."""
        while (await self.one(statement))[0] != number:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A new database and folder, removed after the block."""
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as name:
        folder = Path(name)
        async with EmbeddedPostgres(folder) as url:
            engine = create_engine(url)
            await migrations.upgrade(engine)
            async with PostgresNotifier(url) as notifier:
                yield Bench(folder, url, engine, notifier)
            await engine.dispose()


def stage(name: str, *command: str, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A stage in the shape a user writes."""
    return {
        "name": name,
        "stageType": "DATA_PREPROCESSING",
        "dependencies": list(needs),
        "config": {"command": list(command), "resources": {"cpus": 0.01}},
    }


def show(name: str, text: str) -> None:
    """One line of the report."""
    print(f"{name:14}{text}", flush=True)  # noqa: T201
