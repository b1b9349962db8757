"""Websocket clients that stop reading are disconnected, and their resources are freed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from web_server import serving

from app.web.websocket import WebSocketProtocol

PATIENCE_SECONDS = 10.0


class ImpatientProtocol(WebSocketProtocol):
    stall_seconds = 0.3
    close_seconds = 0.1


class Flood:
    """Sends to its client as fast as the client reads, and sets an event when it has ended."""

    def __init__(self, message_bytes: int = 100_000) -> None:
        self.text = "x" * message_bytes
        self.sent = 0
        self.stopped = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": self.text})
                self.sent += 1
        finally:
            self.stopped.set()


@contextlib.asynccontextmanager
async def handshaken(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """The stream of a websocket whose client does nothing by itself, not even answer a ping."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    flood = Flood()
    async with serving(flood, ws=ImpatientProtocol, ws_ping_interval=None) as port, handshaken(port):
        await asyncio.wait_for(flood.stopped.wait(), PATIENCE_SECONDS)


async def test_a_client_that_answers_no_ping_is_disconnected() -> None:
    class PatientWithReaders(ImpatientProtocol):
        stall_seconds = 1_000.0

    flood = Flood()
    options = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
    async with serving(flood, ws=PatientWithReaders, **options) as port, handshaken(port):
        await asyncio.wait_for(flood.stopped.wait(), PATIENCE_SECONDS)


async def test_a_client_that_reads_slowly_stays_connected() -> None:
    flood = Flood(message_bytes=4_000_000)
    async with (
        serving(flood, ws=ImpatientProtocol, ws_ping_interval=None, timeout_graceful_shutdown=1) as port,
        handshaken(port) as reader,
    ):
        deadline = asyncio.get_running_loop().time() + 4 * ImpatientProtocol.stall_seconds
        while asyncio.get_running_loop().time() < deadline:
            await reader.read(50_000)
            await asyncio.sleep(0.005)
        assert not flood.stopped.is_set()


async def test_a_shutdown_does_not_wait_for_a_client_that_reads_nothing() -> None:
    class PatientWithReaders(ImpatientProtocol):
        stall_seconds = 1_000.0

    flood = Flood()
    async with contextlib.AsyncExitStack() as clients:
        async with serving(flood, ws=PatientWithReaders, ws_ping_interval=None) as port:
            await clients.enter_async_context(handshaken(port))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (sent := flood.sent) == 0 or not await unchanged(flood, sent):
                    pass
        assert flood.stopped.is_set()


async def listen(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept the socket and wait for its end."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def unchanged(flood: Flood, sent: int) -> bool:
    """Whether the flood is blocked: it has sent nothing for a while."""
    await asyncio.sleep(0.1)
    return flood.sent == sent


async def test_sending_to_a_socket_that_the_server_has_just_closed_raises_a_disconnect() -> None:
    class KnownProtocol(ImpatientProtocol):
        latest: KnownProtocol

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            KnownProtocol.latest = self

    async with serving(listen, ws=KnownProtocol, ws_ping_interval=None) as port, handshaken(port):
        socket = KnownProtocol.latest
        socket.keepalive_timeout()
        with pytest.raises(ClientDisconnected):
            await socket.send({"type": "websocket.send", "text": "too late"})
