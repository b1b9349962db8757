"""How long a lineage takes in a large installation, next to the lookup of one row.

    python -m tests.benchmarks.lineage [--runs 17000] [--rounds 30]

A PostgreSQL of its own is filled with runs of six stages in a chain; every third run reuses the first two stages of the
run before it. Each round reads both directions 10 stage runs deep from the middle of the runs, with the index that
finds the readers of a stage run. "one row" is a lookup by primary key in the same round: trust the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import migrations
from app.database.columns import new_id
from app.database.engine import create_engine
from app.database.reads.lineage import Side, Start, lineage_of, lineage_parameters
from app.database.tables import stage_runs
from app.postgres.server import EmbeddedPostgres
from tests.factories import Factory

STAGES = 6
DEPTH = 10
REUSED_STAGES = 2


async def main(runs: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mlp-benchmark-") as home:
        async with EmbeddedPostgres(Path(home)) as url:
            engine = create_engine(url)
            await migrations.upgrade(engine)
            chains = await fill(engine, runs)
            chain = chains[len(chains) // 2]
            async with engine.connect() as connection:
                await report(connection, chain, rounds)
            await engine.dispose()


async def fill(engine: AsyncEngine, runs: int) -> list[list[uuid.UUID]]:
    """The stage runs of each run in their order."""
    make = Factory(engine)
    chains: list[list[uuid.UUID]] = []
    async with make.at_once():
        pipeline = await make.pipeline()
        stages = [await make.stage(pipeline, f"stage {number}", order=number) for number in range(STAGES)]
        for number in range(runs):
            before = chains[-1] if number % 3 == 2 else None
            chains.append(await add_run(make, await make.run(pipeline), stages, before))
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text("VACUUM ANALYZE"))
    return chains


async def add_run(
    make: Factory, run: uuid.UUID, stages: list[uuid.UUID], before: list[uuid.UUID] | None
) -> list[uuid.UUID]:
    chain: list[uuid.UUID] = []
    for position, stage in enumerate(stages):
        reused = before[position] if before and position < REUSED_STAGES else None
        depends_on = chain[-1:]
        chain.append(
            await make.stage_run(
                *(run, stage),
                id=new_id(),
                position=position,
                depends_on=depends_on,
                reused_from_id=reused,
            )
        )
        if reused is None:
            for name in ("one", "two"):
                await make.artifact(chain[-1], stage, name)
    return chain


async def report(connection: AsyncConnection, chain: list[uuid.UUID], rounds: int) -> None:
    total = await connection.scalar(sa.select(sa.func.count()).select_from(stage_runs))
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "one row": (sa.select(stage_runs).where(stage_runs.c.id == chain[0]), {}),
        "upstream": (
            lineage_of(Start.STAGE_RUN, Side.UPSTREAM),
            lineage_parameters([chain[-1]], DEPTH, 200),
        ),
        "downstream": (
            lineage_of(Start.STAGE_RUN, Side.DOWNSTREAM),
            lineage_parameters([chain[0]], DEPTH, 200),
        ),
    }
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    rows: dict[str, int] = {}
    for _ in range(rounds):
        for name, (statement, parameters) in ways.items():
            begin = time.perf_counter()
            rows[name] = len((await connection.execute(statement, parameters)).all())
            seconds[name].append(time.perf_counter() - begin)
    baseline = statistics.median(seconds["one row"])
    print(f"{total} stage runs, depth {DEPTH}, {rounds} rounds")  # noqa: T201
    for name, times in seconds.items():
        middle = statistics.median(times)
        worst = max(times)
        print(  # noqa: T201
            f"{name:>10}: {rows[name]:3} rows, p50 {1000 * middle:6.2f} ms = {middle / baseline:4.1f} x one row, "
            f"max {1000 * worst:6.2f} ms"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=17_000)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.runs, arguments.rounds))
