"""A network path to PostgreSQL that the test can stall, cut and restore."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from sqlalchemy.engine import make_url

_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
_LENGTH = (len(_FIELDS) + 4).to_bytes(4, "big")
_SHUTDOWN_MESSAGES = b"N" + _LENGTH + _FIELDS + b"E" + _LENGTH + _FIELDS
"""The messages of PostgreSQL before it closes a connection in a shutdown: a notice, then the same as an error."""

_STARTING_UP = _SHUTDOWN_MESSAGES[len(_SHUTDOWN_MESSAGES) // 2 :].replace(b"57P01", b"57P03")


class PostgresProxy:
    """Listens on a port of 127.0.0.1 and forwards bytes to the server of a URL; ``url`` leads through it."""

    def __init__(self, target: str) -> None:
        self._target = make_url(target)
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0
        self.connections = 0
        self.refusals = 0
        """How many of the next connections are refused because the server is starting up."""

    async def __aenter__(self) -> Self:
        await self.reopen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.flow()
        await self.close()

    @property
    def url(self) -> str:
        by_tcp = self._target.set(host="127.0.0.1", port=self._port).difference_update_query(["host"])
        return by_tcp.update_query_dict({"sslmode": "disable"}).render_as_string(hide_password=False)

    def stall(self) -> None:
        """Hold back all bytes from now on. Neither side notices."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def send_shutdown_messages(self) -> None:
        """Do what a server does in a shutdown just before it closes its connections."""
        for writer in self._clients:
            writer.write(_SHUTDOWN_MESSAGES)

    async def close(self) -> None:
        """Close all connections and refuse new ones."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._clients.clear()
        await self._server.wait_closed()

    async def reopen(self) -> None:
        """Accept connections again, on the same port."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusals:
            self.refusals -= 1
            await reader.read(1)
            writer.write(_STARTING_UP)
            writer.close()
            return
        upstream_reader, upstream_writer = await self._open_upstream()
        self._writers += [writer, upstream_writer]
        self._clients.append(writer)
        await asyncio.gather(self._pump(reader, upstream_writer), self._pump(upstream_reader, writer))

    async def _open_upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._target.port or 5432
        if socket_folder := self._target.query.get("host"):
            return await asyncio.open_unix_connection(f"{socket_folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._target.host, port)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
