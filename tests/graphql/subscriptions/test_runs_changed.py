"""``runsChanged``: what a list of runs needs to stay true."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from graph_client import Graph, Subscriber, graph_over
from live_run import LiveRun, let_time_pass
from postgres_proxy import PostgresProxy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.engine import create_engine
from app.database.tables import pipeline_runs
from app.graphql.schema import Schema
from app.graphql.shared.ids import global_id
from app.notifications.postgres import PostgresNotifier
from app.services import changed_runs, streams
from app.services.logs import LogReader
from app.services.pipelines import delete_pipeline
from app.services.run_records import delete_run

RUNS = """subscription ($filter: RunFilter) {
    runsChanged(filter: $filter) { runs { id status notes } otherRunIds deletedRunIds } }"""


@pytest.fixture(autouse=True)
async def quiet_past(engine: AsyncEngine) -> None:
    await let_time_pass(engine)


async def ended_run(engine: AsyncEngine) -> LiveRun:
    """A run that ended long ago."""
    run = await LiveRun.insert(engine)
    await run.finish()
    await let_time_pass(engine)
    return run


def run_gid(run: LiveRun) -> str:
    return global_id("Run", run.run_id)


def deletion_of(*runs: LiveRun) -> dict[str, Any]:
    """The message that these runs are deleted, and nothing else."""
    return {"runs": [], "otherRunIds": [], "deletedRunIds": [run_gid(run) for run in runs]}


async def begun(subscriber: Subscriber) -> asyncio.Task[dict[str, Any]]:
    """The next message of a subscriber; changes from now on are in it."""
    waiting = asyncio.create_task(subscriber.next())
    # There is no signal for a waiting task: this is long enough for its first read.
    await asyncio.sleep(0.3)
    return waiting


async def test_a_new_run_and_its_changes_are_delivered(
    graph: Graph, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        run = await LiveRun.insert(engine)
        notifier.publish("runs")
        delivered = {"id": run_gid(run), "status": "RUNNING", "notes": None}
        assert await waiting == {"runs": [delivered], "otherRunIds": [], "deletedRunIds": []}
        waiting = asyncio.create_task(subscriber.next())
        await run.finish()
        notifier.publish("runs")
        assert (await waiting)["runs"] == [delivered | {"status": "COMPLETED"}]


async def test_runs_that_changed_long_before_are_not_delivered(
    graph: Graph, run: LiveRun, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    await let_time_pass(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        notifier.publish("runs")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await run.update_run(notes="now")
        notifier.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["now"]


async def test_many_changes_of_many_runs_become_few_messages(
    graph: Graph, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    runs = [await LiveRun.insert(engine) for _ in range(5)]
    await let_time_pass(engine)
    messages: list[dict[str, Any]] = []
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        for number in range(10):
            for run in runs:
                await run.update_run(notes=str(number))
            notifier.publish("runs")
        last: dict[str, str] = {}
        while last != {run_gid(run): "9" for run in runs}:
            messages.append(await waiting)
            last |= {run["id"]: run["notes"] for run in messages[-1]["runs"]}
            waiting = asyncio.create_task(subscriber.next())
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(messages) < 10


async def test_a_run_that_no_longer_matches_is_named_so_that_a_list_can_remove_it(
    graph: Graph, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    run = await LiveRun.insert(engine, environment="test")
    other = await LiveRun.insert(engine)
    await let_time_pass(engine)
    wanted = {"status": ["RUNNING"], "pipelineId": str(run.pipeline_id)}
    async with graph.subscribe(RUNS, filter=wanted) as subscriber:
        waiting = await begun(subscriber)
        await other.update_run(notes="of another pipeline")
        await run.update_run(notes="still running")
        notifier.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["still running"]
        waiting = asyncio.create_task(subscriber.next())
        await run.finish()
        notifier.publish("runs")
        assert await waiting == {"runs": [], "otherRunIds": [run_gid(run)], "deletedRunIds": []}


async def test_a_transaction_that_commits_late_is_not_missed(
    graph: Graph, run: LiveRun, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    """Its ``updated_at`` is older than rows that were read before it became visible."""
    later = await LiveRun.insert(engine)
    await let_time_pass(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        async with engine.connect() as slow:
            await slow.execute(text("SELECT 1"))
            await slow.execute(
                pipeline_runs.update().where(pipeline_runs.c.id == run.run_id).values(notes="late")
            )
            await later.update_run(notes="early")
            notifier.publish("runs")
            assert [run["notes"] for run in (await waiting)["runs"]] == ["early"]
            waiting = asyncio.create_task(subscriber.next())
            await slow.commit()
        notifier.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["late"]


async def test_a_change_between_the_answer_of_a_query_and_the_first_read_is_delivered(
    graph: Graph, run: LiveRun, engine: AsyncEngine
) -> None:
    deleted = await ended_run(engine)
    async with graph.subscribe(RUNS) as subscriber:
        await run.update_run(notes="after the query")
        await delete_by_hand(deleted)
        delivered = await subscriber.next()
        assert [run["notes"] for run in delivered["runs"]] == ["after the query"]
        assert delivered["deletedRunIds"] == [run_gid(deleted)]


async def test_a_change_just_before_the_stream_begins_is_delivered(
    graph: Graph, run: LiveRun, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may have queried its list before the change. Late commits are the subject of another test."""
    await let_time_pass(engine)
    monkeypatch.setattr(changed_runs, "_LONGEST_TRANSACTION", dt.timedelta(0))
    await run.update_run(notes="just before")
    async with graph.subscribe(RUNS) as subscriber:
        assert [run["notes"] for run in (await subscriber.next())["runs"]] == ["just before"]


async def test_a_transaction_that_was_open_at_the_first_read_is_not_missed(
    graph: Graph,
    run: LiveRun,
    engine: AsyncEngine,
    notifier: PostgresNotifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It began before the moment at which the stream begins."""
    await let_time_pass(engine)
    monkeypatch.setattr(streams, "_BEGINS_BEFORE", dt.timedelta(0))
    async with engine.connect() as slow:
        await slow.execute(
            sa.update(pipeline_runs).where(pipeline_runs.c.id == run.run_id).values(notes="late")
        )
        async with graph.subscribe(RUNS) as subscriber:
            waiting = await begun(subscriber)
            await slow.commit()
            notifier.publish("runs")
            assert [run["notes"] for run in (await waiting)["runs"]] == ["late"]


async def test_a_change_is_delivered_although_the_first_read_waited_for_the_database(
    schema: Schema, database_url: str, logs: LogReader, run: LiveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    await let_time_pass(run.engine)
    monkeypatch.setattr(streams, "_BEGINS_BEFORE", dt.timedelta(seconds=0.1))
    monkeypatch.setattr(changed_runs, "_LONGEST_TRANSACTION", dt.timedelta(seconds=0.1))
    async with (
        PostgresProxy(database_url) as proxy,
        PostgresNotifier(proxy.url, poll_seconds=0.05) as notifier,
    ):
        engine = create_engine(proxy.url)
        await proxy.close()
        async with graph_over(schema, engine, notifier, logs).subscribe(RUNS) as subscriber:
            waiting = await begun(subscriber)
            await run.update_run(notes="meanwhile")
            # Longer than the stream goes back.
            await asyncio.sleep(0.5)
            await proxy.reopen()
            assert [run["notes"] for run in (await waiting)["runs"]] == ["meanwhile"]
        await engine.dispose()


async def delete_by_hand(run: LiveRun) -> None:
    async with run.engine.begin() as connection:
        await connection.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id == run.run_id))


async def delete_the_run(run: LiveRun, notifier: PostgresNotifier) -> None:
    await delete_run(run.engine, notifier, run.run_id)


async def delete_the_pipeline(run: LiveRun, notifier: PostgresNotifier) -> None:
    await delete_pipeline(run.engine, notifier, run.pipeline_id, delete_runs=True)


@pytest.mark.parametrize("delete", [delete_the_run, delete_the_pipeline])
async def test_a_deleted_run_is_delivered_at_once_and_once(
    graph: Graph,
    engine: AsyncEngine,
    notifier: PostgresNotifier,
    delete: Callable[[LiveRun, PostgresNotifier], Awaitable[None]],
) -> None:
    run, other = await ended_run(engine), await ended_run(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        await delete(run, notifier)
        assert await waiting == deletion_of(run)
        waiting = asyncio.create_task(subscriber.next())
        await delete(other, notifier)
        assert await waiting == deletion_of(other)


async def test_a_run_that_changes_and_is_deleted_is_delivered_as_deleted_only(
    graph: Graph, engine: AsyncEngine
) -> None:
    run = await ended_run(engine)
    async with graph.subscribe(RUNS) as subscriber:
        await run.update_run(notes="last words")
        await delete_by_hand(run)
        assert await subscriber.next() == deletion_of(run)


async def test_a_deletion_without_a_notification_is_delivered_by_the_poll(
    schema: Schema, engine: AsyncEngine, database_url: str, logs: LogReader
) -> None:
    run = await ended_run(engine)
    async with (
        PostgresNotifier(database_url, poll_seconds=0.1) as notifier,
        graph_over(schema, engine, notifier, logs).subscribe(RUNS) as subscriber,
    ):
        waiting = await begun(subscriber)
        await delete_by_hand(run)
        assert await waiting == deletion_of(run)


async def test_a_deletion_is_delivered_after_a_new_notification_connection(
    graph: Graph, engine: AsyncEngine
) -> None:
    run = await ended_run(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        await delete_by_hand(run)
        kill = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'mlp-notifier' AND datname = current_database()"
        )
        async with engine.begin() as connection:
            await connection.execute(kill)
        assert await waiting == deletion_of(run), (
            "the new connection counts as a notification; none was published"
        )


async def test_a_deletion_that_commits_late_is_not_missed(
    graph: Graph, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    run, later = await ended_run(engine), await ended_run(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        async with engine.connect() as slow:
            await slow.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id == run.run_id))
            await delete_run(engine, notifier, later.run_id)
            assert await waiting == deletion_of(later)
            waiting = asyncio.create_task(subscriber.next())
            await slow.commit()
        notifier.publish("runs")
        assert await waiting == deletion_of(run)


async def test_of_a_deleted_run_only_the_pipeline_is_compared_with_the_filter(
    graph: Graph, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    run, other = await ended_run(engine), await ended_run(engine)
    wanted = {
        "pipelineId": str(run.pipeline_id),
        "status": ["FAILED"],
        "createdBefore": "2020-01-01T00:00:00Z",
    }
    async with graph.subscribe(RUNS, filter=wanted) as subscriber:
        waiting = await begun(subscriber)
        await delete_run(engine, notifier, other.run_id)
        await delete_run(engine, notifier, run.run_id)
        assert await waiting == deletion_of(run)


async def test_all_runs_of_a_deleted_pipeline_are_delivered_in_several_messages(
    graph: Graph, run: LiveRun, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    await run.finish()
    run_ids = {run.run_id, *(new_id() for _ in range(249))}
    rows = [
        {"id": run_id, "pipeline_id": run.pipeline_id, "status": "FAILED", "definition": {}}
        for run_id in run_ids - {run.run_id}
    ]
    async with engine.begin() as connection:
        await connection.execute(sa.insert(pipeline_runs).values(completed_at=sa.func.now()), rows)
    await let_time_pass(engine)
    delivered: list[str] = []
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        await delete_the_pipeline(run, notifier)
        delivered += (await waiting)["deletedRunIds"]
        assert len(delivered) < len(run_ids)
        while len(delivered) < len(run_ids):
            delivered += (await subscriber.next())["deletedRunIds"]
    assert sorted(delivered) == sorted(global_id("Run", run_id) for run_id in run_ids)


async def test_a_filter_with_a_wrong_id_is_a_typed_error(graph: Graph) -> None:
    for wrong in ("no id", ""):
        error = await graph.error(RUNS, filter={"pipelineId": wrong})
        assert (error["code"], error["argumentPath"]) == ("NOT_FOUND", ["filter", "pipelineId"])
