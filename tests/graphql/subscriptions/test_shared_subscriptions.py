"""Sockets share what is executed for them, and each still gets exactly what it would get alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from graph_client import PATIENCE_SECONDS, Graph
from live_run import LiveRun
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import PlainTextResponse
from web_server import serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.domain.events import EventKind
from app.graphql.schema import Schema
from app.graphql.serving.shared_subscriptions import beginning_variables
from app.graphql.serving.view import GraphQLView
from app.notifications.postgres import PostgresNotifier
from app.services.streams import BATCH_ROWS
from app.web.websocket import WebSocketProtocol

EVENTS = """subscription ($id: ID!, $after: String) { runEvents(runId: $id, after: $after) {
    cursor events { seq kind ... on StageProgress { stageRun { name } } } } }"""
NESTED_USE = """subscription ($id: ID!, $after: String) { runEvents(runId: $id, after: $after) {
    events { seq run { events(first: 1, after: $after) { cursor } } } } }"""
SELECTIONS = {
    "plain": (EVENTS, None),
    "aliases": (
        """subscription A($id: ID!, $after: String) {
        e: runEvents(runId: $id, after: $after) { events { n: seq } } }""",
        "A",
    ),
    "no cursor": ("subscription ($id: ID!) { runEvents(runId: $id) { events { seq at } } }", None),
    "literal": ('subscription ($id: ID!) { runEvents(runId: $id, after: "3") { events { seq } } }', None),
    "fragment": (
        """subscription ($id: ID!, $after: String) { ...F }
        fragment F on Subscription { runEvents(runId: $id, after: $after) { events { seq __typename } } }""",
        None,
    ),
    "directive": (
        """subscription ($id: ID!, $after: String, $with: Boolean!) { runEvents(runId: $id, after: $after) {
        events { seq at @include(if: $with) } } }""",
        None,
    ),
    "nested use": (NESTED_USE, None),
}
TWO = """subscription One($id: ID!) { runEvents(runId: $id) { events { seq } } }
    subscription Two($id: ID!) { runEvents(runId: $id) { events { kind } } }"""
SELECTIONS |= {"first of two": (TWO, "One"), "second of two": (TWO, "Two")}


class CountedProtocol(WebSocketProtocol):
    lost = 0

    def connection_lost(self, exc: Exception | None) -> None:
        CountedProtocol.lost += 1
        super().connection_lost(exc)


@dataclass
class Served:
    """A view on a port of its own."""

    view: GraphQLView
    port: int

    @contextlib.asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        url = f"ws://127.0.0.1:{self.port}/graphql"
        protocol = Subprotocol("graphql-transport-ws")
        async with connect(url, subprotocols=[protocol], **({"max_queue": None} | options)) as connection:
            await connection.send('{"type": "connection_init"}')
            await connection.recv()
            yield Socket(connection)

    async def followed_by_nobody(self) -> None:
        await until(lambda: len(self.view.subscriptions.streams) == 0)


@dataclass
class Socket:
    """One client."""

    connection: ClientConnection

    async def subscribe(
        self, query: str, variables: dict[str, Any], name: str | None = None, *, operation_id: str = "1"
    ) -> None:
        payload = {"query": query, "variables": variables, "operationName": name}
        message = {"type": "subscribe", "id": operation_id, "payload": payload}
        await self.connection.send(json.dumps(message))

    async def text(self) -> str:
        return str(await asyncio.wait_for(self.connection.recv(), PATIENCE_SECONDS))

    async def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.text())
        return message

    async def payloads(self) -> list[Any]:
        """Of the rest of the only operation."""
        payloads = []
        while (message := await self.message())["type"] == "next":
            payloads.append(message["payload"])
        return [*payloads, *([message["payload"]] if message["type"] == "error" else [])]


@pytest.fixture
def view(graph: Graph) -> GraphQLView:
    return GraphQLView(graph.schema, graph.contexts, page=lambda _: PlainTextResponse(""))


@pytest.fixture
async def served(view: GraphQLView) -> AsyncIterator[Served]:
    async with serving(view, ws=CountedProtocol, ws_ping_interval=0.5, ws_ping_timeout=3.0) as port:
        yield Served(view, port)


@contextlib.asynccontextmanager
async def followers(served: Served, run: LiveRun, cursors: list[str | None]) -> AsyncIterator[list[Socket]]:
    """One socket for each cursor, all with the run's history behind them."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(served.socket()) for _ in cursors]
        for number, (client, cursor) in enumerate(zip(sockets, cursors, strict=True)):
            variables = {"id": str(run.run_id), "after": cursor}
            await client.subscribe(EVENTS, variables, operation_id=f'"{number}')
        await asyncio.gather(*(socket.text() for socket in sockets))
        yield sockets


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - not everything has an event
            await asyncio.sleep(0.01)


def events_of(payloads: list[Any]) -> list[Any]:
    return [event for payload in payloads for batch in payload["data"].values() for event in batch["events"]]


async def alone(graph: Graph, query: str, variables: dict[str, Any], name: str | None) -> list[Any]:
    """The payloads of a subscription without other subscribers."""
    stream = await graph.schema.subscribe(
        query, variables, context_value=graph.contexts(), operation_name=name
    )
    results = [result async for result in stream]
    return [
        {"data": result.data}
        | ({"errors": [error.formatted for error in result.errors]} if result.errors else {})
        for result in results
    ]


async def test_an_event_is_executed_once_for_all_subscribers(
    served: Served, run: LiveRun, notifier: PostgresNotifier, engine: AsyncEngine
) -> None:
    await run.record(*[EventKind.STAGE_READIED] * 6)
    async with followers(served, run, [None, "0", "1", "2", "3", "4", "5"] * 4) as sockets:
        await run.record(EventKind.STAGE_STARTED)
        notifier.publish(f"run:{run.run_id}")
        await asyncio.gather(*(socket.text() for socket in sockets))
        sent: list[str] = []
        sa.event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
        await run.record(EventKind.STAGE_FINISHED)
        notifier.publish(f"run:{run.run_id}")
        texts = await asyncio.gather(*(socket.text() for socket in sockets))
        assert sum("FROM stage_runs" in statement for statement in sent) == 1
        assert {text.removeprefix(f'{{"id":"\\"{number}",') for number, text in enumerate(texts)} == {
            '"type":"next","payload":{"data":{"runEvents":{"cursor":"8","events":'
            '[{"seq":8,"kind":"STAGE_FINISHED","stageRun":{"name":"train"}}]}}}}'
        }
        assert len(served.view.subscriptions.streams) == 1
    await served.followed_by_nobody()


@pytest.mark.parametrize("seed", range(3))
async def test_each_subscriber_gets_what_it_would_get_alone(
    served: Served, graph: Graph, run: LiveRun, notifier: PostgresNotifier, seed: int
) -> None:
    chance = random.Random(seed)

    async def write() -> None:
        for _ in range(40):
            await run.record(*[EventKind.STAGE_READIED] * chance.randint(1, 3))
            notifier.publish(f"run:{run.run_id}")
            await asyncio.sleep(chance.uniform(0, 0.02))
        await run.finish()
        notifier.publish(f"run:{run.run_id}")

    async def read(query: str, variables: dict[str, Any], name: str | None, wait_seconds: float) -> list[Any]:
        await asyncio.sleep(wait_seconds)
        async with served.socket() as socket:
            await socket.subscribe(query, variables, name)
            return await socket.payloads()

    await run.record(*[EventKind.STAGE_READIED] * 10)
    wanted = []
    for _ in range(20):
        query, name = SELECTIONS[chance.choice(list(SELECTIONS))]
        variables: dict[str, Any] = {"id": str(run.run_id)}
        if "$after" in query:
            variables["after"] = chance.choice([None, "0", "2", "9"])
        if "$with" in query:
            variables["with"] = chance.choice([True, False])
        wanted.append((query, variables, name))
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(*request, chance.uniform(0, 0.5))) for request in wanted]
        tasks.create_task(write())
    for request, reader in zip(wanted, readers, strict=True):
        assert events_of(reader.result()) == events_of(await alone(graph, *request)), request
    await served.followed_by_nobody()


async def test_a_late_subscriber_gets_all_events_and_then_shares(
    served: Served, run: LiveRun, notifier: PostgresNotifier
) -> None:
    await run.record(*[EventKind.STAGE_READIED] * (BATCH_ROWS + 10))
    async with followers(served, run, [str(BATCH_ROWS)]) as [early], served.socket() as late:
        await late.subscribe(EVENTS, {"id": str(run.run_id)})
        caught_up = [(await late.message())["payload"] for _ in range(2)]
        assert [event["seq"] for event in events_of(caught_up)] == list(range(1, BATCH_ROWS + 11))
        await run.finish()
        notifier.publish(f"run:{run.run_id}")
        assert [event["seq"] for event in events_of(await late.payloads())] == [BATCH_ROWS + 11]
        assert [event["seq"] for event in events_of(await early.payloads())] == [BATCH_ROWS + 11]
    await served.followed_by_nobody()


async def test_a_subscriber_that_stops_reading_is_disconnected_without_harm_to_others(
    served: Served,
    run: LiveRun,
    notifier: PostgresNotifier,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks_before = len(asyncio.all_tasks())
    await run.record(EventKind.RUN_STARTED)
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(served.socket()) for _ in range(3)]
        stalled = [
            await stack.enter_async_context(served.socket(max_queue=1, close_timeout=0.1)) for _ in range(3)
        ]
        for socket in [*readers, *stalled]:
            await socket.subscribe(EVENTS, {"id": str(run.run_id)})
        seen = [[(await reader.message())["payload"]] for reader in readers]
        lost_before = CountedProtocol.lost
        while CountedProtocol.lost < lost_before + len(stalled):
            last = await run.record(EventKind.STAGE_READIED)
            notifier.publish(f"run:{run.run_id}")
            for reader, payloads in zip(readers, seen, strict=True):
                payloads.append((await reader.message())["payload"])
            await asyncio.sleep(0.05)
        for payloads in seen:
            assert [event["seq"] for event in events_of(payloads)] == list(range(1, last + 1))
        for reader in readers:
            await reader.connection.send('{"type": "complete", "id": "1"}')
        await served.followed_by_nobody()
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        await run.finish()
        await readers[0].subscribe(EVENTS, {"id": str(run.run_id), "after": str(last)})
        assert await readers[0].payloads() != []
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


async def test_one_operation_of_a_socket_ends_without_the_others(
    served: Served, run: LiveRun, notifier: PostgresNotifier
) -> None:
    await run.record(EventKind.RUN_STARTED)
    async with served.socket() as socket:
        for operation_id in ("a", "b"):
            await socket.subscribe(EVENTS, {"id": str(run.run_id)}, operation_id=operation_id)
            assert (await socket.message())["id"] == operation_id
        await socket.connection.send('{"type": "complete", "id": "a"}')
        await run.finish()
        notifier.publish(f"run:{run.run_id}")
        assert [(message["type"], message["id"]) for message in [await socket.message() for _ in range(2)]] == [
            ("next", "b"),
            ("complete", "b"),
        ]  # fmt: skip
    await served.followed_by_nobody()


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (EVENTS, {"id": "no id"}),
        (EVENTS, {"after": "1"}),
        (EVENTS, {"id": "00000000-0000-0000-0000-000000000000", "after": 5}),
        (EVENTS.replace("seq", "nothing"), {"id": "x"}),
        ("subscription {", {}),
        ("subscription A { __typename } subscription B { __typename }", {}),
    ],
)
async def test_a_shared_subscription_fails_as_it_would_alone(
    served: Served, graph: Graph, query: str, variables: dict[str, Any]
) -> None:
    expected = await alone(graph, query, variables, None)
    for _ in range(2):
        async with served.socket() as socket:
            await socket.subscribe(query, variables)
            message = await socket.message()
            if message["type"] == "next":
                assert message["payload"] == expected[0]
                assert (await socket.message())["type"] == "complete"
            else:
                assert message["payload"] == expected[0]["errors"]
    await served.followed_by_nobody()


def test_only_variables_that_say_where_to_begin_are_left_out_of_the_comparison(
    schema: Schema,
) -> None:
    def left_out(query: str) -> set[str]:
        document = schema.document(query)
        assert document is not None
        return set(beginning_variables(document, document.definitions[0]))  # type: ignore[arg-type]

    assert left_out(EVENTS) == {"after"}
    assert left_out(NESTED_USE) == set()
    assert left_out(
        """subscription ($s: ID!, $from: BigInt, $attempt: Int) {
        stageLog(stageRunId: $s, afterOffset: $from, attempt: $attempt) { text } }"""
    ) == {"from", "attempt"}
    assert left_out("subscription ($f: RunFilter) { runsChanged(filter: $f) { otherRunIds } }") == set()
