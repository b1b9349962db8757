"""A network path to PostgreSQL that is cut at one statement."""

from __future__ import annotations

import asyncio

from tests.execution.faulty_disk import OneFault
from tests.postgres_proxy import PostgresProxy

STATEMENTS = (b"E", b"Q")
"""The messages Execute and Query."""

Pair = tuple[asyncio.StreamWriter, asyncio.StreamWriter]
"""To the client, to the server."""


class FaultyNetwork(PostgresProxy):
    """Cuts the connection that sends the faulty statement: before the server gets it, or before it is answered."""

    def __init__(self, target: str, fault: OneFault, *, after: bool) -> None:
        super().__init__(target)
        self._fault = fault
        self._after = after

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await self._open_upstream()
        pair = (writer, upstream_writer)
        self._writers += pair
        answer_is_lost = asyncio.Event()
        await asyncio.gather(
            self._requests(reader, pair, answer_is_lost),
            self._answers(upstream_reader, pair, answer_is_lost),
            return_exceptions=True,
        )

    async def _requests(
        self, reader: asyncio.StreamReader, pair: Pair, answer_is_lost: asyncio.Event
    ) -> None:
        """The first message begins with its length; every other one with a letter, then its length."""
        head_size = 4
        try:
            while True:
                head = await reader.readexactly(head_size)
                body = await reader.readexactly(int.from_bytes(head[-4:]) - 4)
                head_size = 5
                if head[:-4] in STATEMENTS and self._fault.is_now():
                    if not self._after:
                        return
                    answer_is_lost.set()
                pair[1].write(head + body)
        finally:
            if not answer_is_lost.is_set():
                _cut(pair)

    async def _answers(self, reader: asyncio.StreamReader, pair: Pair, answer_is_lost: asyncio.Event) -> None:
        try:
            while (data := await reader.read(65536)) and not answer_is_lost.is_set():
                pair[0].write(data)
        finally:
            _cut(pair)


def _cut(pair: Pair) -> None:
    for writer in pair:
        writer.transport.abort()
