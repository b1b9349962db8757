"""Clients that never finish a request are disconnected; clients that are slow in any other way are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send
from web_server import serving

from app.web import http
from app.web.http import HttpProtocol
from app.web.server import RunningServer
from app.web.websocket import WebSocketProtocol
from tests.clients.conftest import server, worker_home

__all__ = ["server", "worker_home"]

PATIENCE_SECONDS = 10.0
SHORT_SECONDS = 0.3
LONG_SECONDS = 2.5 * SHORT_SECONDS
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Echo:
    """Responds with the length of the body, after a delay if the path says so."""

    def __init__(self) -> None:
        self.calls = 0
        self.disconnected = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        if scope["type"] == "websocket":
            await self.websocket(receive, send)
            return
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        else:
            self.disconnected.set()
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        if scope["path"] == "/slow":
            await asyncio.sleep(LONG_SECONDS)
        await send({"type": "http.response.body", "body": b"%9d" % size})

    async def websocket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def send_until_dropped(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionError):
                while True:
                    self.send(data)
                    await self._writer.drain()
                    await asyncio.sleep(0)

    async def answer(self) -> bytes:
        """Header and body (nine bytes) of one response."""
        header = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        return header + await self._reader.readexactly(9)

    async def rest(self) -> bytes:
        """All bytes until the server closes the connection."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self._reader.read(), PATIENCE_SECONDS)
        return b""


@pytest.fixture
def application() -> Echo:
    return Echo()


@pytest.fixture
async def port(application: Echo) -> AsyncIterator[int]:
    async with serving(application, http=HttpProtocol, ws=WebSocketProtocol) as port:
        yield port


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    async with connected(port) as client:
        yield client


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEADER_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(http, "BODY_SECONDS", SHORT_SECONDS)


@pytest.fixture
def long_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits that no client reaches."""
    monkeypatch.setattr(http, "HEADER_SECONDS", 1_000.0)
    monkeypatch.setattr(http, "BODY_SECONDS", 1_000.0)


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: yyyy\r\n" * 14_000,
        b"GET / HTTP/1.1\r\n" + b"X: yyyy\r\n" * 14_000 + b"\r\n",
        b"GET /" + b"x" * 70_000,
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"G" * 70_000,
    ],
    ids=["a field", "a whole field", "fields", "whole fields", "an address", "a whole address", "a method"],
)
async def test_a_header_of_more_than_64_kib_is_refused(
    application: Echo, long_limits: None, client: Client, header: bytes
) -> None:
    client.send(header)
    assert (await client.rest()).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert application.calls == 0


@pytest.mark.parametrize(
    "endless",
    [
        (b"GET / HTTP/1.1\r\nX: ", b"x"),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"GET /", b"x"),
        (CHUNKED + b"0\r\n", b"x"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"1;a=", b"x"),
    ],
    ids=["a field", "fields", "an address", "a trailer", "trailers", "the name of a chunk"],
)
async def test_endless_headers_and_trailers_end_the_connection(
    long_limits: None, client: Client, endless: tuple[bytes, bytes]
) -> None:
    start, more = endless
    client.send(start)
    await client.send_until_dropped(more * 1000)


async def test_a_header_of_almost_64_kib_is_read_in_any_pieces(client: Client, application: Echo) -> None:
    header = POST + b"Content-Length: 300000\r\nX: " + b"x" * 65_000 + b"\r\n\r\n"
    client.send(header + b"b" * 300_000)
    assert (await client.answer()).endswith(b"   300000")
    for piece in (header[:40_000], header[40_000:] + b"b" * 200_000, b"b" * 100_000):
        client.send(piece)
        await asyncio.sleep(0)
    assert (await client.answer()).endswith(b"   300000")


async def test_many_requests_in_one_piece_are_answered(client: Client) -> None:
    client.send((GET + b"\r\n") * 2_000)
    for _ in range(2_000):
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_body_in_tiny_chunks_is_read(long_limits: None, client: Client) -> None:
    client.send(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
    assert (await client.answer()).endswith(b"   100000")


@pytest.mark.parametrize("start", [b"G", GET, GET + b"X: y"])
async def test_an_unfinished_header_times_out(
    short_limits: None, client: Client, application: Echo, start: bytes
) -> None:
    client.send(start)
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
    assert application.calls == 0


async def test_a_header_sent_byte_by_byte_has_the_same_time_limit(short_limits: None, client: Client) -> None:
    client.send(GET + b"X: ")
    dripping = asyncio.create_task(drip(client))
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
    dripping.cancel()


async def drip(client: Client) -> None:
    while True:
        client.send(b"x")
        await asyncio.sleep(SHORT_SECONDS / 10)


@pytest.mark.parametrize("before", [b"", b"\r\n"])
async def test_a_client_that_sends_nothing_is_disconnected(
    short_limits: None, client: Client, before: bytes
) -> None:
    client.send(before)
    assert await client.rest() == b""


async def test_line_breaks_after_a_response_do_not_keep_a_connection_open(
    short_limits: None, client: Client
) -> None:
    client.send(GET + b"\r\n")
    await client.answer()
    client.send(b"\r\n")
    assert await client.rest() == b""


@pytest.mark.parametrize(
    "half", [POST + b"Content-Length: 10\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n", CHUNKED + b"0\r\nX: y"]
)
async def test_an_unfinished_body_times_out_and_the_application_is_notified(
    short_limits: None, client: Client, application: Echo, half: bytes
) -> None:
    client.send(half)
    assert await client.rest() == b""
    await asyncio.wait_for(application.disconnected.wait(), PATIENCE_SECONDS)


async def test_a_response_may_take_longer_than_a_request(short_limits: None, client: Client) -> None:
    for request in (b"GET /slow HTTP/1.1\r\n\r\n", b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n\r\n"):
        client.send(request)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
    assert await client.rest() == b""


async def test_a_connection_stays_open_between_requests(short_limits: None, client: Client) -> None:
    client.send(GET + b"\r\n")
    await client.answer()
    await asyncio.sleep(LONG_SECONDS)
    client.send(GET + b"\r\n")
    await client.answer()


async def test_a_request_that_waits_for_an_earlier_response_does_not_time_out(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(http, "HEADER_SECONDS", 1_000.0)
    client.send(b"GET /slow HTTP/1.1\r\n\r\n" + POST + b"Content-Length: 100000\r\n\r\n")
    client.send(b"x" * 100_000)
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
    assert (await client.answer()).endswith(b"   100000")


async def test_a_websocket_stays_open(short_limits: None, port: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}") as socket:
        await asyncio.sleep(LONG_SECONDS)
        await socket.send_str("still here")
        assert await socket.receive_str(timeout=PATIENCE_SECONDS) == "still here"


async def test_the_server_uses_this_protocol(server: RunningServer) -> None:
    async with connected(int(server.url.rpartition(":")[2])) as client:
        client.send(b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 431 ")
