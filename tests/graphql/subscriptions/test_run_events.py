"""``runEvents``: each event once and in order, from any cursor, whatever happens to the notifications."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from graph_client import Graph, graph_over
from live_run import LiveRun
from postgres_proxy import PostgresProxy
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.engine import create_engine
from app.domain.events import EventKind
from app.domain.vocabulary import RunStatus
from app.graphql.schema import Schema
from app.notifications.postgres import PostgresNotifier
from app.services.logs import LogReader
from app.services.streams import BATCH_ROWS

EVENTS = "subscription ($id: ID!, $after: String) { runEvents(runId: $id, after: $after) { cursor events { seq } } }"


def numbers(*batches: dict[str, Any]) -> list[int]:
    return [event["seq"] for batch in batches for event in batch["events"]]


async def test_all_events_of_an_ended_run_are_delivered_and_the_stream_completes(
    graph: Graph, run: LiveRun
) -> None:
    await run.record(EventKind.RUN_QUEUED, EventKind.RUN_STARTED)
    await run.finish()
    (batch,) = await graph.messages(EVENTS, id=str(run.run_id))
    assert batch == {"cursor": "3", "events": [{"seq": 1}, {"seq": 2}, {"seq": 3}]}


async def test_after_any_cursor_the_rest_is_delivered(graph: Graph, run: LiveRun) -> None:
    await run.record(*[EventKind.STAGE_READIED] * 9)
    await run.finish()
    for after in range(11):
        batches = await graph.messages(EVENTS, id=str(run.run_id), after=str(after))
        assert numbers(*batches) == list(range(after + 1, 11))


async def test_a_notification_delivers_an_event_while_the_run_is_active(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier
) -> None:
    async with graph.subscribe(EVENTS, id=str(run.run_id)) as subscriber:
        waiting = asyncio.create_task(subscriber.next())
        for seq in (1, 2, 3):
            await run.record(EventKind.STAGE_READIED)
            notifier.publish(f"run:{run.run_id}")
            assert numbers(await waiting) == [seq]
            waiting = asyncio.create_task(subscriber.next())
        await run.finish()
        notifier.publish(f"run:{run.run_id}")
        assert numbers(await waiting, *await subscriber.rest()) == [4]


async def test_a_long_history_comes_in_bounded_batches(graph: Graph, run: LiveRun) -> None:
    await run.record(*[EventKind.STAGE_READIED] * (2 * BATCH_ROWS))
    await run.finish()
    batches = await graph.messages(EVENTS, id=str(run.run_id))
    assert [len(batch["events"]) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert numbers(*batches) == list(range(1, 2 * BATCH_ROWS + 2))


async def test_no_event_is_lost_or_repeated_while_a_writer_commits_and_readers_come_and_go(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier
) -> None:
    chance = random.Random(20261123)

    async def write() -> None:
        for _ in range(60):
            await run.record(*[EventKind.STAGE_READIED] * chance.randint(1, 4))
            notifier.publish(f"run:{run.run_id}")
            await asyncio.sleep(chance.uniform(0, 0.01))
        await run.finish()
        notifier.publish(f"run:{run.run_id}")

    async def read(patience: int) -> list[int]:
        """Break off after so many batches and go on from the last cursor."""
        seen: list[int] = []
        cursor = None
        while True:
            async with graph.subscribe(EVENTS, id=str(run.run_id), after=cursor) as subscriber:
                try:
                    for _ in range(patience):
                        batch = await subscriber.next()
                        seen += numbers(batch)
                        cursor = batch["cursor"]
                except StopAsyncIteration:
                    return seen

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        readers = [tasks.create_task(read(patience)) for patience in (1, 2, 5, 1_000)]
    last = readers[0].result()[-1]
    assert last > 100
    for reader in readers:
        assert reader.result() == list(range(1, last + 1))


async def test_a_killed_notification_connection_loses_nothing(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, engine: AsyncEngine
) -> None:
    async with graph.subscribe(EVENTS, id=str(run.run_id)) as subscriber:
        await run.record(EventKind.RUN_QUEUED)
        assert numbers(await subscriber.next()) == [1]
        waiting = asyncio.create_task(subscriber.next())
        kill = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'mlp-notifier' AND datname = current_database()"
        )
        async with engine.begin() as connection:
            await connection.execute(kill)
        await run.record(EventKind.RUN_STARTED)
        assert numbers(await waiting) == [2], (
            "the new connection counts as a notification; none was published"
        )


async def test_a_lost_notification_delays_an_event_until_the_poll(
    schema: Schema, engine: AsyncEngine, database_url: str, logs: LogReader, run: LiveRun
) -> None:
    async with PostgresNotifier(database_url, poll_seconds=0.1) as notifier:
        graph = graph_over(schema, engine, notifier, logs)
        async with graph.subscribe(EVENTS, id=str(run.run_id)) as subscriber:
            waiting = asyncio.create_task(subscriber.next())
            await run.record(EventKind.RUN_QUEUED)
            assert numbers(await waiting) == [1]


async def test_subscribers_wait_for_an_unavailable_database(
    schema: Schema, database_url: str, logs: LogReader, run: LiveRun
) -> None:
    async with (
        PostgresProxy(database_url) as proxy,
        PostgresNotifier(proxy.url, poll_seconds=0.05) as notifier,
    ):
        engine = create_engine(proxy.url)
        graph = graph_over(schema, engine, notifier, logs)
        async with graph.subscribe(EVENTS, id=str(run.run_id)) as subscriber:
            await run.record(EventKind.RUN_QUEUED)
            assert numbers(await subscriber.next()) == [1]
            waiting = asyncio.create_task(subscriber.next())
            await proxy.close()
            await run.record(EventKind.RUN_STARTED)
            # Long enough for a poll that finds no database.
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await proxy.reopen()
            assert numbers(await waiting) == [2]
        await engine.dispose()


async def test_no_connection_is_held_while_subscribers_wait(
    graph: Graph, run: LiveRun, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    async with waiting_subscribers(graph, run, 50) as waiting:
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        await run.record(EventKind.RUN_STARTED)
        notifier.publish(f"run:{run.run_id}")
        assert all(numbers(batch) == [2] for batch in await asyncio.gather(*waiting))


async def test_subscribers_at_the_same_position_share_their_reads(
    graph: Graph, run: LiveRun, engine: AsyncEngine, notifier: PostgresNotifier
) -> None:
    async with waiting_subscribers(graph, run, 50) as waiting:
        await run.record(EventKind.RUN_STARTED)
        checkouts = CheckoutCounter(engine)
        notifier.publish(f"run:{run.run_id}")
        await asyncio.gather(*waiting)
        assert 1 <= checkouts.count <= 3


@contextlib.asynccontextmanager
async def waiting_subscribers(
    graph: Graph, run: LiveRun, count: int
) -> AsyncIterator[list[asyncio.Task[dict[str, Any]]]]:
    """``count`` subscribers of a run that have its first event and wait for the next."""
    await run.record(EventKind.RUN_QUEUED)
    async with contextlib.AsyncExitStack() as stack:
        streams = [graph.subscribe(EVENTS, id=str(run.run_id)) for _ in range(count)]
        subscribers = [await stack.enter_async_context(stream) for stream in streams]
        await asyncio.gather(*(subscriber.next() for subscriber in subscribers))
        waiting = [asyncio.create_task(subscriber.next()) for subscriber in subscribers]
        # There is no signal for a waiting task: this is long enough for the reads before it.
        await asyncio.sleep(0.2)
        yield waiting


class CheckoutCounter:
    """How often a connection was taken from the pool since."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.count = 0
        event.listen(engine.sync_engine, "checkout", self._count)

    def _count(self, *_: object) -> None:
        self.count += 1


async def test_events_removed_by_retention_are_named_and_the_rest_is_delivered(
    graph: Graph, run: LiveRun
) -> None:
    document = """subscription ($id: ID!, $after: String) { runEvents(runId: $id, after: $after) {
        cursor resyncRequired { missedFrom missedTo } events { seq } } }"""
    await run.record(*[EventKind.STAGE_READIED] * 9)
    await run.finish()
    await run.remove_events_up_to(4)
    (batch,) = await graph.messages(document, id=str(run.run_id), after="2")
    assert batch["resyncRequired"] == {"missedFrom": 3, "missedTo": 4}
    assert numbers(batch) == [5, 6, 7, 8, 9, 10]
    (batch,) = await graph.messages(document, id=str(run.run_id), after="3")
    assert batch["resyncRequired"] == {"missedFrom": 4, "missedTo": 4}, "a single lost event is a gap too"
    (batch,) = await graph.messages(document, id=str(run.run_id), after="4")
    assert batch["resyncRequired"] is None
    await run.remove_events_up_to(10)
    (batch,) = await graph.messages(document, id=str(run.run_id), after="7")
    assert batch == {"cursor": "10", "resyncRequired": {"missedFrom": 8, "missedTo": 10}, "events": []}


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "١", "9" * 19])
async def test_a_malformed_cursor_is_a_typed_error(graph: Graph, run: LiveRun, after: str) -> None:
    error = await graph.error(EVENTS, id=str(run.run_id), after=after)
    assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["after"])


async def test_a_cursor_of_another_run_is_a_typed_error(graph: Graph, run: LiveRun) -> None:
    await run.record(EventKind.RUN_QUEUED)
    error = await graph.error(EVENTS, id=str(run.run_id), after="2")
    assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["after"])


@pytest.mark.parametrize("run_id", [str(uuid.UUID(int=1)), "no id"])
async def test_a_run_that_does_not_exist_is_a_typed_error(graph: Graph, run_id: str) -> None:
    error = await graph.error(EVENTS, id=run_id)
    assert (error["code"], error["argumentPath"]) == ("NOT_FOUND", ["runId"])


async def test_every_kind_of_event_has_its_type_with_its_payload(graph: Graph, run: LiveRun) -> None:
    artifact_id, worker_id = uuid.uuid4(), uuid.uuid4()
    await run.record(EventKind.RUN_QUEUED, status="PENDING", actor="ada")
    await run.record(
        *(kind for kind in EventKind if kind.startswith("STAGE_")), workerId=str(worker_id), attempt=1
    )
    await run.record(
        EventKind.STAGE_FINISHED, status="FAILED", finishReason="EXITED", exitCode=3, errorMessage="no"
    )
    await run.record(
        EventKind.ARTIFACT_STORED,
        artifactId=str(artifact_id),
        name="model",
        artifactType="MODEL",
        fileSize=2**40,
    )
    await run.record(EventKind.RUN_STARTED, EventKind.RUN_CANCEL_REQUESTED)
    await run.finish(RunStatus.FAILED, finishReason="TIMED_OUT", previousStatus="RUNNING")
    document = """subscription ($id: ID!) { runEvents(runId: $id) { events {
        __typename kind at run { status }
        ... on RunProgress { runStatus actor }
        ... on StageProgress { stageStatus attempt stageRun { name status } }
        ... on StageClaimed { workerId }
        ... on AttemptOutcome { finishReason exitCode errorMessage }
        ... on RunFinished { finishReason previousRunStatus }
        ... on ArtifactStored { name artifactType fileSize artifact { id } stageRun { name } }
    } } }"""
    (batch,) = await graph.messages(document, id=str(run.run_id))
    events = batch["events"]
    names = {event["kind"]: event["__typename"] for event in events}
    assert names == {kind: kind.title().replace("_", "") for kind in EventKind}
    assert all(event["run"] == {"status": "FAILED"} for event in events)
    assert events[0]["runStatus"] == "PENDING"
    assert events[0]["actor"] == "ada"
    (claimed,) = (event for event in events if event["kind"] == "STAGE_CLAIMED")
    assert claimed["workerId"] is not None
    assert claimed["stageRun"] == {"name": "train", "status": "COMPLETED"}
    failed = [event for event in events if event["kind"] == "STAGE_FINISHED"][-1]
    assert (failed["stageStatus"], failed["exitCode"], failed["errorMessage"]) == ("FAILED", 3, "no")
    (stored,) = (event for event in events if event["kind"] == "ARTIFACT_STORED")
    assert (stored["artifactType"], stored["fileSize"], stored["artifact"]) == ("MODEL", 2**40, None)
    assert (events[-1]["runStatus"], events[-1]["finishReason"]) == ("FAILED", "TIMED_OUT")


async def test_edges_of_each_batch_show_the_rows_of_that_moment(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier
) -> None:
    document = "subscription ($id: ID!) { runEvents(runId: $id) { events { run { notes } } } }"
    async with graph.subscribe(document, id=str(run.run_id)) as subscriber:
        for notes in ("first", "second"):
            await run.update_run(notes=notes)
            await run.record(EventKind.STAGE_READIED)
            notifier.publish(f"run:{run.run_id}")
            assert (await subscriber.next())["events"] == [{"run": {"notes": notes}}]


async def test_an_error_of_the_stream_names_the_field_as_that_of_a_query_does(
    graph: Graph, run: LiveRun
) -> None:
    aliased = "subscription ($id: ID!, $after: String) {\n  aliased: runEvents(runId: $id, after: $after) { cursor } }"
    in_a_fragment = """subscription ($id: ID!, $after: String) { ...Some }
      fragment Some on Subscription { aliased: runEvents(runId: $id, after: $after) { cursor } }"""
    for document, column in ((aliased, 3), (in_a_fragment, 39)):
        for variables in (
            {"id": "x"},
            {"id": str(run.run_id), "after": "x"},
            {"id": str(run.run_id), "after": "9"},
        ):
            error = await graph.error(document, **variables)
            assert (error["path"], error["locations"]) == (["aliased"], [{"line": 2, "column": column}])
            assert error["code"] in ("NOT_FOUND", "BAD_INPUT")
