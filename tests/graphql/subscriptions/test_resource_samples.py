"""``resourceSamples``: the resource use of the processes of a run, until it has ended."""

from __future__ import annotations

import asyncio
from typing import Any

from graph_client import Graph
from live_run import LiveRun

from app.notifications.postgres import PostgresNotifier
from app.services.streams import BATCH_ROWS

SAMPLES = """subscription ($id: ID!, $after: String) { resourceSamples(runId: $id, after: $after) {
    cursor samples { stageRunId attempt at cpuPercent memoryMb processCount readBytes writeBytes } } }"""


def memory(*batches: dict[str, Any]) -> list[float]:
    """The hand-made sample of number n has n MB."""
    return [sample["memoryMb"] for batch in batches for sample in batch["samples"]]


async def test_samples_arrive_as_they_are_taken_and_end_with_the_run(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier
) -> None:
    await run.add_samples(2)
    async with graph.subscribe(SAMPLES, id=str(run.run_id)) as subscriber:
        assert memory(await subscriber.next()) == [1, 2]
        waiting = asyncio.create_task(subscriber.next())
        await run.add_samples(1)
        notifier.publish_local(f"samples:{run.run_id}")
        (sample,) = (await waiting)["samples"]
        assert sample["cpuPercent"] == 3.0
        assert sample["at"] == "2026-11-23T12:00:03+00:00"
        assert (sample["attempt"], sample["processCount"], sample["readBytes"]) == (1, 1, None)
        waiting = asyncio.create_task(subscriber.next())
        await run.add_samples(1)
        await run.finish()
        notifier.publish(f"run:{run.run_id}")
        assert memory(await waiting, *await subscriber.rest()) == [4]


async def test_samples_resume_after_a_cursor_in_bounded_batches(graph: Graph, run: LiveRun) -> None:
    await run.add_samples(BATCH_ROWS + 5)
    await run.finish()
    first, second = await graph.messages(SAMPLES, id=str(run.run_id), after="3")
    assert memory(first, second) == list(range(4, BATCH_ROWS + 6))
    assert len(first["samples"]) == BATCH_ROWS
    assert await graph.messages(SAMPLES, id=str(run.run_id), after=second["cursor"]) == []


async def test_a_malformed_cursor_is_a_typed_error(graph: Graph, run: LiveRun) -> None:
    error = await graph.error(SAMPLES, id=str(run.run_id), after="yesterday")
    assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["after"])
