"""Notifications between processes over LISTEN and NOTIFY.

A notification says that the rows of a topic have changed, never how: every listener reads the rows after its cursor.
So notifications may be lost, repeated or merged; a lost one delays a listener by its poll interval at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import asyncpg

from app.database.engine import connect
from app.database.urls import normalised
from app.notifications.mailboxes import Mailbox, Switchboard

_APPLICATION_NAME = "mlp-notifier"
# Named when notifications were called hints. Unchanged: processes of several releases must use the same channel.
_CHANNEL = "mlp_hints"
_EVERYTHING = "*"
_PAYLOAD_BYTES = 7_900  # PostgreSQL refuses payloads of 8000
_PENDING_TOPICS = 5_000
_COALESCE_SECONDS = 0.005
_RETRY_SECONDS = (0.1, 5.0)

logger = logging.getLogger(__name__)


class PostgresNotifier:
    """Notifies listeners in this process at once, and those of other processes by NOTIFY.

    An async context manager that owns one connection and one task. While the database is unreachable it reconnects
    in the background and still notifies the listeners of this process. Call its methods from the event loop's thread.

    ``poll_seconds``: how long a listener waits before it reads the rows without a notification.
    ``self_check_seconds``: interval at which it notifies itself, to detect a connection that no longer delivers.
    ``answer_seconds``: how long the database may take to answer before the connection is replaced.
    """

    def __init__(
        self,
        dsn: str,
        *,
        poll_seconds: float = 2.0,
        self_check_seconds: float = 5.0,
        answer_seconds: float = 5.0,
    ) -> None:
        self.poll_seconds = poll_seconds
        self._self_check_seconds = self_check_seconds
        self._answer_seconds = answer_seconds
        self._url = normalised(dsn)
        self._name = secrets.token_hex(4)
        self._switchboard = Switchboard()
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._echoes = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected(), name="notifier")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def listen(self, *topics: str) -> AbstractContextManager[Mailbox]:
        """A mailbox for these topics. Every new connection to the database notifies all mailboxes."""
        return self._switchboard.listen(*topics)

    def publish(self, *topics: str) -> None:
        """Notify this process at once and the others within milliseconds. Call it after the commit."""
        self._switchboard.notify(topics)
        self._pending.update(dict.fromkeys(topics))
        if len(self._pending) > _PENDING_TOPICS:
            self._pending = {_EVERYTHING: None}
        self._wake.set()

    def publish_local(self, *topics: str) -> None:
        """Notify this process only: for rows that change often and are followed here."""
        self._switchboard.notify(topics)

    async def _stay_connected(self) -> None:
        delays = _back_off()
        while True:
            try:
                async with self._connection() as connection:
                    delays = _back_off()
                    await self._serve(connection)
            except Exception as error:  # any error: without this task notifications would stop for good
                delay = next(delays)
                logger.warning("no notifications from the database, reconnecting in %.1f s: %r", delay, error)
                await asyncio.sleep(delay)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._url, application_name=_APPLICATION_NAME)
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            async with asyncio.timeout(self._answer_seconds):
                await connection.add_listener(_CHANNEL, self._receive)
            self._switchboard.notify_all()
            yield connection
        finally:
            # Not close(): it waits for an answer of the server, which may be the reason for this.
            connection.terminate()

    async def _serve(self, connection: asyncpg.Connection) -> None:
        while True:
            await self._wait_for_work()
            if self._pending:
                await self._send_pending(connection)
            else:
                await self._check_echo(connection)
            await asyncio.sleep(_COALESCE_SECONDS)

    async def _wait_for_work(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._self_check_seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _send_pending(self, connection: asyncpg.Connection) -> None:
        topics, self._pending = self._pending, {}
        try:
            for payload in _payloads(self._name, topics):
                await self._notify(connection, payload)
        except BaseException:
            self._pending = topics | self._pending
            raise

    async def _check_echo(self, connection: asyncpg.Connection) -> None:
        """Notify ourselves, without a topic. PostgreSQL delivers that before it reports the statement as done."""
        echoes = self._echoes
        await self._notify(connection, self._name)
        if self._echoes == echoes:
            raise ConnectionResetError("the connection no longer delivers notifications")

    async def _notify(self, connection: asyncpg.Connection, payload: str) -> None:
        async with asyncio.timeout(self._answer_seconds):
            await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload)

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *topics = str(payload).split(" ")
        if sender == self._name:
            self._echoes += 1
        elif _EVERYTHING in topics:
            self._switchboard.notify_all()
        else:
            self._switchboard.notify(topics)


def _payloads(sender: str, topics: Collection[str]) -> Iterator[str]:
    """``<sender> <topic> <topic>...``, each short enough for one NOTIFY."""
    words = [sender]
    length = len(sender)
    for topic in topics:
        if length + 1 + len(topic) > _PAYLOAD_BYTES:
            yield " ".join(words)
            words, length = [sender], len(sender)
        words.append(topic)
        length += 1 + len(topic)
    yield " ".join(words)


def _back_off() -> Iterator[float]:
    """Delays that double up to the limit, with jitter, so that many processes do not reconnect at the same time."""
    delay, limit = _RETRY_SECONDS
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(delay * 2, limit)
