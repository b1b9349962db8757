"""The duration of a nested query, compared with that of its SQL statements alone.

    python -m tests.benchmarks.nested_query [--queries 60] [--profile]

A PostgreSQL of its own has 200 runs. Each round executes the same operation in every way, one after the other, so that
other load of the machine affects all of them; trust the ratios, not the milliseconds. "raw SQL" executes the statements
of the operation through asyncpg, one after the other, and encodes their rows by orjson.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import gc
import pstats
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import connect, create_engine
from app.domain.vocabulary import ArtifactType
from app.execution.executors.local import LocalExecutor
from app.graphql.context import Context
from app.graphql.schema import Schema, build_schema
from app.graphql.shared.context import ContextFactory
from app.notifications.postgres import PostgresNotifier
from app.postgres.server import EmbeddedPostgres
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.storage.imports import Imports
from app.storage.local import LocalStore
from tests.factories import NOON, Factory

RUNS = 200
STAGES = 6
WARM_UP = 5
QUERY = """
{
  runs(first: 50) {
    nodes {
      id status triggerType startedAt completedAt executionTime successCount tags createdAt
      pipeline { id name }
      stageRuns {
        id name status startedAt completedAt executionTime memoryUsage cpuUsage metrics
        stage { id name stageType }
        attempts { attempt startedAt finishReason exitCode }
        artifacts {
          nodes {
            id name artifactType fileSize createdAt
            model { algorithm framework metrics }
            dataset { format rowCount columnCount }
          }
        }
      }
    }
  }
}
"""

Send = Callable[[], Awaitable[bytes]]
Statement = tuple[str, tuple[Any, ...]]


async def main(rounds: int, profile: bool) -> None:
    async with filled_database() as (engine, url), PostgresNotifier(url) as notifier:
        contexts = contexts_over(engine, notifier)
        schemas = {"graphql-core": build_schema(compiled=False), "compiled": build_schema()}
        statements = await statements_of(engine, schemas["compiled"], contexts)
        connection = await connect(url)
        ways: dict[str, Send] = {"raw SQL": lambda: raw(connection, statements)}
        for name, schema in schemas.items():
            ways[name] = lambda schema=schema: answer(schema, contexts)  # type: ignore[misc]
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as the server does
        await report(ways, rounds, len(statements))
        if profile:
            await print_profile(ways["compiled"])
        await connection.close()


@contextlib.asynccontextmanager
async def filled_database() -> AsyncIterator[tuple[AsyncEngine, str]]:
    with tempfile.TemporaryDirectory(prefix="mlp-benchmark-") as home:
        async with EmbeddedPostgres(Path(home)) as url:
            engine = create_engine(url)
            await migrations.upgrade(engine)
            await fill(engine)
            yield engine, url
            await engine.dispose()


async def fill(engine: AsyncEngine) -> None:
    """Runs of ten pipelines; each stage run has an attempt, a dataset and a model."""
    make = Factory(engine)
    async with make.at_once():
        for number in range(RUNS // 20):
            pipeline = await make.pipeline(f"pipeline {number}")
            stages = [await make.stage(pipeline, f"stage {place}", order=place) for place in range(STAGES)]
            for _ in range(20):
                run = await make.run(pipeline, started_at=NOON, execution_time=12.5, tags=["nightly"])
                for place, stage in enumerate(stages):
                    await add_stage_run(make, run, stage, place)
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            sa.text("VACUUM ANALYZE")
        )


async def add_stage_run(make: Factory, run: Any, stage: Any, place: int) -> None:
    stage_run = await make.stage_run(
        run,
        stage,
        name=f"stage {place}",
        position=place,
        started_at=NOON,
        completed_at=NOON,
        execution_time=1.5,
        memory_usage=250.5,
        metrics={"loss": 0.25, "accuracy": 0.97},
    )
    await make.attempt(stage_run, exit_code=0)
    data = await make.artifact(stage_run, stage, "data", artifact_type=ArtifactType.DATASET, file_size=2**33)
    await make.dataset(data, row_count=100_000, column_count=12)
    await make.model(await make.artifact(stage_run, stage, file_size=4096), metrics={"f1": 0.9})


def contexts_over(engine: AsyncEngine, notifier: PostgresNotifier) -> ContextFactory:
    store = LocalStore(Path(tempfile.gettempdir()))
    logs = LogReader(LocalExecutor(Path("attempts")), store, engine)
    streams = Streams(engine, notifier, logs)
    return ContextFactory(Context, engine, notifier, logs, streams, SystemSampler(), Imports(store, None, 0))


async def statements_of(engine: AsyncEngine, schema: Schema, contexts: ContextFactory) -> list[Statement]:
    """The statements of the operation and their parameters, as the driver receives them."""
    sent: list[Statement] = []

    def remember(connection: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        sent.append((statement, tuple(parameters)))

    sa.event.listen(engine.sync_engine, "before_cursor_execute", remember)
    await answer(schema, contexts)
    sa.event.remove(engine.sync_engine, "before_cursor_execute", remember)
    return sent


async def raw(connection: asyncpg.Connection, statements: list[Statement]) -> bytes:
    return orjson.dumps(
        [
            [tuple(row) for row in await connection.fetch(statement, *parameters)]
            for statement, parameters in statements
        ],
        default=str,
    )


async def answer(schema: Schema, contexts: ContextFactory) -> bytes:
    result = await schema.execute(QUERY, context_value=contexts())
    assert result.errors is None, result.errors
    return orjson.dumps({"data": result.data, "extensions": result.extensions})


async def report(ways: dict[str, Send], rounds: int, statements: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    size = {}
    for number in range(WARM_UP + rounds):
        for name, send in ways.items():
            began, used = time.perf_counter(), time.process_time()
            size[name] = len(await send())
            if number >= WARM_UP:
                wall[name].append((time.perf_counter() - began) * 1000)
                cpu[name].append((time.process_time() - used) * 1000)
    base = statistics.median(wall["raw SQL"])
    print(f"{rounds} rounds; {statements} statements per query")  # noqa: T201
    print(f"{'':16}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms':>8}{'kB':>6}{'x raw SQL':>11}")  # noqa: T201
    for name in ways:
        p50, p99 = statistics.median(wall[name]), statistics.quantiles(wall[name], n=100)[-1]
        line = (
            f"{p50:8.1f}{p99:8.1f}{statistics.mean(cpu[name]):8.1f}{size[name] // 1000:6}{p50 / base:10.1f}x"
        )
        print(f"{name:16}{line}")  # noqa: T201


async def print_profile(send: Send) -> None:
    with cProfile.Profile() as profile:
        for _ in range(10):
            await send()
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.queries, arguments.profile))
