"""The database goes away in the middle of a run: the engine waits, comes back by itself and loses nothing."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations
from app.database.engine import create_engine
from app.database.tables import workers
from app.domain.vocabulary import RunStatus, StageStatus
from app.execution.failures import log_failure
from app.execution.paths import WorkerHome
from app.notifications.postgres import PostgresNotifier
from app.postgres.server import EmbeddedPostgres
from app.services.state.run_transaction import lock_run
from tests.execution.conftest import LIMITS, Engine, is_completed, python, stage
from tests.postgres_proxy import PostgresProxy

COUNT = """
import json, os, pathlib, sys, time
name = os.environ["MLP_STAGE"]
with open(sys.argv[1], "a") as ledger:
    print(name, "began", file=ledger, flush=True)
    with open(os.environ["MLP_METRICS"], "a") as metrics:
        for step in range(20):
            print(json.dumps({"name": "step", "value": step, "step": step}), file=metrics, flush=True)
            print("line", step, flush=True)
            time.sleep(0.05)
    pathlib.Path(os.environ["MLP_OUTPUT_DIR"], name + ".txt").write_text(name)
    print(name, "ended", file=ledger, flush=True)
"""


@contextlib.asynccontextmanager
async def engine_on(url: str, home: WorkerHome) -> AsyncIterator[Engine]:
    database = create_engine(url)
    async with PostgresNotifier(url) as notifier:
        yield Engine(database, notifier, home)
    await database.dispose()


async def start_three_stages(engine: Engine, ledger: Path) -> object:
    command = [*python(COUNT), str(ledger)]
    return await engine.start(
        stage("one", command), stage("two", command, needs=["one"]), stage("three", command, needs=["two"])
    )


async def until_written(ledger: Path, text: str) -> None:
    with anyio.fail_after(30):
        while not (ledger.exists() and text in ledger.read_text()):  # noqa: ASYNC110 (written by a stage)
            await anyio.sleep(0.02)


async def check_nothing_is_missing(engine: Engine, run_id: object, ledger: Path) -> None:
    run = await engine.finished(run_id)  # type: ignore[arg-type]
    assert (run.status, run.success_count, run.error_message) == (RunStatus.COMPLETED, 3, None)
    names = ("one", "two", "three")
    assert ledger.read_text().splitlines() == [f"{n} {what}" for n in names for what in ("began", "ended")]
    stages = await engine.stages(run_id)  # type: ignore[arg-type]
    metrics = "SELECT count(*), count(DISTINCT (stage_run_id, step)) FROM metric_points"
    async with engine.database.connect() as connection:
        assert tuple((await connection.execute(sa.text(metrics))).one()) == (60, 60)
    for name, row in stages.items():
        assert (row.attempt_number, row.lost_count) == (1, 0), json.dumps(name)
        assert await engine.log(row.id) == b"".join(b"line %d\n" % step for step in range(20))
        assert f"{name}.txt" in await engine.artifacts(row.id)
    events = await engine.events(run_id)  # type: ignore[arg-type]
    assert [event.seq for event in events] == list(range(1, run.last_event_seq + 1))


async def test_a_restart_of_postgresql_in_the_middle_of_a_run_loses_nothing(
    worker_home: WorkerHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = tmp_path / "ledger"
    with tempfile.TemporaryDirectory(prefix="mlp-outage-") as folder:
        server = EmbeddedPostgres(Path(folder))
        async with contextlib.AsyncExitStack() as stack:
            url = await server.start()
            stack.push_async_callback(server.stop)
            engine = await stack.enter_async_context(engine_on(url, worker_home))
            await migrations.upgrade(engine.database)
            async with engine.supervised():
                run_id = await start_three_stages(engine, ledger)
                await until_written(ledger, "two began")
                await server.stop()
                await until_written(ledger, "two ended")
                assert await server.start() == url
                await check_nothing_is_missing(engine, run_id, ledger)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
async def test_a_cut_network_in_the_middle_of_a_run_loses_nothing(
    worker_home: WorkerHome, database_url: str, tmp_path: Path, silent: bool
) -> None:
    ledger = tmp_path / "ledger"
    async with (
        PostgresProxy(database_url) as network,
        engine_on(network.url, worker_home) as engine,
        engine.supervised(),
    ):
        run_id = await start_three_stages(engine, ledger)
        await until_written(ledger, "two began")
        if silent:
            network.stall()
        else:
            await network.close()
        await until_written(ledger, "two ended")
        if silent:
            network.flow()
        else:
            await network.reopen()
        await check_nothing_is_missing(engine, run_id, ledger)


async def test_a_supervisor_stops_in_good_order_although_the_database_is_away(
    worker_home: WorkerHome, database_url: str
) -> None:
    async with PostgresProxy(database_url) as network, engine_on(network.url, worker_home) as engine:
        async with engine.supervised():
            assert is_completed(await engine.finished(await engine.start(stage("only"))))
            await network.close()
        await network.reopen()


async def test_a_worker_that_comes_back_keeps_its_lease_while_it_waits_for_what_it_has_to_adopt(
    engine: AsyncEngine, database_url: str, worker_home: WorkerHome
) -> None:
    limits = replace(LIMITS, lease_seconds=1.0)
    async with PostgresNotifier(database_url) as notifier:
        idle = Engine(engine, notifier, worker_home, limits)
        async with idle.supervised():
            run_id = await idle.start(stage("only", python("import time; time.sleep(600)")))
            await idle.until(run_id, lambda stages: stages["only"].status is StageStatus.RUNNING)
            async with engine.begin() as other:
                await lock_run(other, run_id)
                await expire_leases(engine)
                with anyio.fail_after(30):
                    while not await lease_was_renewed(engine):  # noqa: ASYNC110 (no event to wait for)
                        await anyio.sleep(0.05)
            await idle.cancel(run_id)
            await idle.finished(run_id)


async def expire_leases(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.update(workers).values(lease_until=sa.func.now()))


async def lease_was_renewed(engine: AsyncEngine) -> bool:
    """Of the worker that registered last."""
    held = workers.c.lease_until - workers.c.created_at > timedelta(seconds=1.5)
    async with engine.connect() as connection:
        latest = sa.select(held).order_by(workers.c.id.desc()).limit(1)
        return bool((await connection.execute(latest)).scalar_one())


def test_an_outage_is_logged_in_one_line_and_other_failures_in_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for error in (ConnectionRefusedError("no\nserver"), RuntimeError("a bug")):
        log_failure(logging.getLogger("test"), "look for work", error)
    outage, other = caplog.records
    assert outage.getMessage() == "could not look for work, tries again: ConnectionRefusedError: no server"
    assert (outage.levelname, outage.exc_info) == ("WARNING", None)
    assert (other.levelname, other.exc_info is not None) == ("ERROR", True)
