"""graphql-transport-ws, with correct, faulty and hostile clients."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.graphql.schema import Schema
from app.graphql.serving import view
from app.graphql.shared.context import ContextFactory
from tests.factories import Factory
from tests.graphql.conftest import TOKEN, browser_page, serving

QUERY = "{ pipelines(orderBy: CREATED_AT_ASC) { nodes { name } } }"
TICKS = "subscription { systemSamples { cpuPercent } }"


@contextlib.asynccontextmanager
async def open_socket(
    address: str, *, protocol: str = "graphql-transport-ws", **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://{address}/graphql"
    # Without a bound on its queue the client continues to read, and so receives the server's answer to its close.
    async with connect(url, subprotocols=[Subprotocol(protocol)], max_queue=None, **options) as socket:
        yield socket


@contextlib.asynccontextmanager
async def initialised(address: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with open_socket(address, **options) as socket:
        await send(socket, type="connection_init")
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def receive(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def subscribe(socket: ClientConnection, query: str, operation_id: str = "1") -> None:
    await send(socket, type="subscribe", id=operation_id, payload={"query": query})


async def close_code(socket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_a_query_is_answered_and_completed(server: str, make: Factory) -> None:
    await make.pipeline()
    async with initialised(server) as socket:
        await subscribe(socket, QUERY)
        answer = await receive(socket)
        assert (answer["type"], answer["payload"]["data"]) == (
            "next",
            {"pipelines": {"nodes": [{"name": "penguins"}]}},
        )
        assert await receive(socket) == {"type": "complete", "id": "1"}


async def test_a_later_query_on_the_same_socket_sees_later_rows(server: str, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    query = f'{{ pipeline(id: "{pipeline_id}") {{ runs {{ totalCount }} }} }}'
    async with initialised(server) as socket:
        for expected in range(3):
            await subscribe(socket, query)
            answer = await receive(socket)
            assert answer["payload"]["data"]["pipeline"]["runs"]["totalCount"] == expected
            assert answer["payload"]["extensions"]["cost"]["sqlStatements"] == 3
            assert (await receive(socket))["type"] == "complete"
            await make.run(pipeline_id)


@pytest.mark.parametrize("query", ["{", "{ unknown }", "{ ...a } fragment a on Query { ...a }", "x" * 30_000])
async def test_a_wrong_operation_ends_only_itself(server: str, query: str) -> None:
    async with initialised(server) as socket:
        await subscribe(socket, TICKS, "ticks")
        assert (await receive(socket))["id"] == "ticks"
        await subscribe(socket, query, "wrong")
        answer = await receive(socket)
        while answer["id"] == "ticks":
            answer = await receive(socket)
        assert (answer["type"], answer["id"]) == ("error", "wrong")
        assert answer["payload"][0]["message"]
        assert answer["payload"][0]["extensions"]["code"] in ("BAD_REQUEST", "QUERY_TOO_EXPENSIVE")
        assert (await receive(socket))["id"] == "ticks"


async def test_a_document_without_the_operation_to_execute_is_not_a_server_error(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with initialised(server) as socket:
        for payload in (
            {"query": ""},
            {"query": "fragment f on Query { __typename }"},
            {"query": "{ __typename }", "operationName": "absent"},
            {"query": "subscription { __typename }", "operationName": "absent"},
        ):
            await send(socket, type="subscribe", id="1", payload=payload)
            answer = await receive(socket)
            assert (answer["type"], answer["payload"][0]["extensions"]) == ("error", {"code": "BAD_REQUEST"})
    assert caplog.text == ""


@pytest.mark.parametrize(
    "message",
    [
        "[1]",
        "1",
        "null",
        '"x"',
        "{}",
        "{",
        "[" * 20_000,
        '{"type": 1}',
        '{"type": "zap"}',
        json.dumps({"type": "z" * 500}),
        json.dumps({"type": "ü" * 500}),
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}',
        '{"type": "subscribe", "id": [1], "payload": {"query": "{ __typename }"}}',
        '{"type": "subscribe", "id": "1"}',
        '{"type": "subscribe", "id": "1", "payload": null}',
        '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": [1]}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "operationName": 1}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "extensions": "x"}}',
        '{"type": "complete"}',
        '{"type": "complete", "id": {}}',
        b"\x00\x01",
    ],
)
async def test_a_malformed_message_closes_the_socket_without_a_traceback(
    server: str, caplog: pytest.LogCaptureFixture, message: str | bytes
) -> None:
    with caplog.at_level(logging.WARNING):
        async with initialised(server) as socket:
            await socket.send(message)
            assert await close_code(socket) == 4400
    assert "Traceback" not in caplog.text


async def test_a_socket_without_connection_init_is_closed(
    schema: Schema, contexts: ContextFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dt.timedelta(seconds=5) == view.CONNECTION_INIT_TIMEOUT
    monkeypatch.setattr(view, "CONNECTION_INIT_TIMEOUT", dt.timedelta(seconds=0.1))
    strict = view.GraphQLView(schema, contexts, page=browser_page)
    async with serving(strict) as address, open_socket(address) as socket:
        assert await close_code(socket) == 4408


async def test_unexpected_messages_close_the_socket(server: str) -> None:
    async with open_socket(server) as socket:
        await subscribe(socket, QUERY)
        assert await close_code(socket) == 4401
    async with initialised(server) as socket:
        await send(socket, type="connection_init")
        assert await close_code(socket) == 4429
    async with initialised(server) as socket:
        await subscribe(socket, TICKS)
        await subscribe(socket, TICKS)
        assert await close_code(socket) == 4409


async def test_a_ping_is_answered(server: str) -> None:
    async with initialised(server) as socket:
        await send(socket, type="ping")
        assert await receive(socket) == {"type": "pong"}


async def test_one_socket_has_at_most_twenty_operations(server: str) -> None:
    async with initialised(server) as socket:
        for number in range(21):
            await subscribe(socket, TICKS, str(number))
        while (answer := await receive(socket))["type"] == "next":
            pass
        assert (answer["type"], answer["id"]) == ("error", "20")


async def test_the_old_protocol_is_refused(server: str) -> None:
    async with open_socket(server, protocol="graphql-ws") as socket:
        assert await close_code(socket) == 4406


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_pages_of_other_sites_are_refused(server: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(server, origin=Origin(origin)):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, {}),
        ({"Authorization": f"bearer {TOKEN}"}, {}),
        (None, {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
async def test_a_socket_with_the_token_is_accepted(
    guarded_server: str, payload: dict[str, str] | None, headers: dict[str, str]
) -> None:
    async with open_socket(guarded_server, additional_headers=headers) as socket:
        await send(socket, type="connection_init", payload=payload)
        assert await receive(socket) == {"type": "connection_ack"}


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"authorization": ""},
        {"authorization": TOKEN},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": ["Bearer", TOKEN]},
        {"authorization": "Bearer \ud800"},
        {"token": TOKEN},
    ],
)
async def test_a_socket_without_the_token_is_refused(
    guarded_server: str, payload: dict[str, Any] | None
) -> None:
    async with open_socket(guarded_server) as socket:
        await send(socket, type="connection_init", payload=payload)
        assert await close_code(socket) in (4403, 4400)
