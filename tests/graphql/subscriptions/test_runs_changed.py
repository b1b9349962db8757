"""``runsChanged``: what a list of runs needs to stay true."""

from __future__ import annotations

import asyncio
from typing import Any

from graph_client import Graph, Subscriber
from hand_made_run import HandMadeRun
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.broker.postgres import Broker
from app.database.models import pipeline_runs
from app.graphql.ids import global_id

RUNS = "subscription ($filter: RunFilter) { runsChanged(filter: $filter) { runs { id status notes } otherRunIds } }"


def run_gid(run: HandMadeRun) -> str:
    return global_id("Run", run.run_id)


async def begun(subscriber: Subscriber) -> asyncio.Task[dict[str, Any]]:
    """The next message of a subscriber; changes from now on are in it."""
    waiting = asyncio.create_task(subscriber.next())
    # Nobody can see a task wait: this is long enough for the read with which it begins.
    await asyncio.sleep(0.3)
    return waiting


async def test_a_new_run_and_its_changes_are_told(graph: Graph, engine: AsyncEngine, broker: Broker) -> None:
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        run = await HandMadeRun.insert(engine)
        broker.publish("runs")
        told = {"id": run_gid(run), "status": "RUNNING", "notes": None}
        assert await waiting == {"runs": [told], "otherRunIds": []}
        waiting = asyncio.create_task(subscriber.next())
        await run.finish()
        broker.publish("runs")
        assert await waiting == {"runs": [told | {"status": "COMPLETED"}], "otherRunIds": []}


async def test_what_was_there_before_is_not_told(graph: Graph, run: HandMadeRun, broker: Broker) -> None:
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        broker.publish("runs")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await run.update_run(notes="now")
        broker.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["now"]


async def test_many_changes_of_many_runs_become_few_messages(
    graph: Graph, engine: AsyncEngine, broker: Broker
) -> None:
    runs = [await HandMadeRun.insert(engine) for _ in range(5)]
    messages: list[dict[str, Any]] = []
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        for number in range(10):
            for run in runs:
                await run.update_run(notes=str(number))
            broker.publish("runs")
        last: dict[str, str] = {}
        while last != {run_gid(run): "9" for run in runs}:
            messages.append(await waiting)
            last |= {run["id"]: run["notes"] for run in messages[-1]["runs"]}
            waiting = asyncio.create_task(subscriber.next())
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(messages) < 10


async def test_a_run_which_no_longer_matches_is_named_so_that_a_list_can_drop_it(
    graph: Graph, engine: AsyncEngine, broker: Broker
) -> None:
    run = await HandMadeRun.insert(engine, environment="test")
    other = await HandMadeRun.insert(engine)
    wanted = {"status": ["RUNNING"], "pipelineId": str(run.pipeline_id)}
    async with graph.subscribe(RUNS, filter=wanted) as subscriber:
        waiting = await begun(subscriber)
        await other.update_run(notes="of another pipeline")
        await run.update_run(notes="still running")
        broker.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["still running"]
        waiting = asyncio.create_task(subscriber.next())
        await run.finish()
        broker.publish("runs")
        assert await waiting == {"runs": [], "otherRunIds": [run_gid(run)]}


async def test_a_transaction_which_commits_late_is_not_missed(
    graph: Graph, run: HandMadeRun, engine: AsyncEngine, broker: Broker
) -> None:
    """Its ``updated_at`` is older than rows which were read before it became visible."""
    later = await HandMadeRun.insert(engine)
    async with graph.subscribe(RUNS) as subscriber:
        waiting = await begun(subscriber)
        async with engine.connect() as slow:
            await slow.execute(text("SELECT 1"))
            await slow.execute(
                pipeline_runs.update().where(pipeline_runs.c.id == run.run_id).values(notes="late")
            )
            await later.update_run(notes="early")
            broker.publish("runs")
            assert [run["notes"] for run in (await waiting)["runs"]] == ["early"]
            waiting = asyncio.create_task(subscriber.next())
            await slow.commit()
        broker.publish("runs")
        assert [run["notes"] for run in (await waiting)["runs"]] == ["late"]


async def test_a_filter_with_a_wrong_id_is_a_typed_error(graph: Graph) -> None:
    error = await graph.error(RUNS, filter={"pipelineId": "no id"})
    assert (error["code"], error["argumentPath"]) == ("NOT_FOUND", ["filter", "pipelineId"])
