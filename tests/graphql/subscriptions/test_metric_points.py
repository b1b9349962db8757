"""``metricPoints``: training curves as they grow, until the run has ended."""

from __future__ import annotations

import asyncio
from typing import Any

from graph_client import Graph
from live_run import LiveRun

from app.graphql.shared.ids import global_id
from app.notifications.postgres import PostgresNotifier
from app.services.streams import BATCH_ROWS

METRICS = """subscription ($id: ID!, $after: String) { metricPoints(runId: $id, after: $after) {
    cursor points { stageRunId attempt name step value at } } }"""


def values(*batches: dict[str, Any]) -> list[Any]:
    return [point["value"] for batch in batches for point in batch["points"]]


async def test_points_arrive_as_they_are_recorded_and_end_with_the_run(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier
) -> None:
    await run.add_metrics(3.5, float("nan"))
    async with graph.subscribe(METRICS, id=str(run.run_id)) as subscriber:
        assert values(await subscriber.next()) == [3.5, "NaN"]
        waiting = asyncio.create_task(subscriber.next())
        await run.add_metrics(2.5)
        notifier.publish_local(f"metrics:{run.run_id}")
        (point,) = (await waiting)["points"]
        assert point.pop("at") is not None
        assert point == {
            "stageRunId": global_id("StageRun", run.stage_run_id),
            "attempt": 1,
            "name": "loss",
            "step": 3,
            "value": 2.5,
        }
        waiting = asyncio.create_task(subscriber.next())
        await run.add_metrics(1.5)
        await run.finish()
        notifier.publish(f"run:{run.run_id}")
        assert values(await waiting, *await subscriber.rest()) == [1.5]


async def test_points_resume_after_a_cursor_in_bounded_batches(graph: Graph, run: LiveRun) -> None:
    await run.add_metrics(*map(float, range(1, BATCH_ROWS + 6)))
    await run.finish()
    first, second = await graph.messages(METRICS, id=str(run.run_id), after="3")
    assert values(first, second) == list(range(4, BATCH_ROWS + 6))
    assert len(first["points"]) == BATCH_ROWS
    assert await graph.messages(METRICS, id=str(run.run_id), after=second["cursor"]) == []


async def test_a_malformed_cursor_is_a_typed_error(graph: Graph, run: LiveRun) -> None:
    error = await graph.error(METRICS, id=str(run.run_id), after="yesterday")
    assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["after"])
