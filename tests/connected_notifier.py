"""A notifier that already receives the notifications of other processes, so that its connection wakes no listener."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from app.notifications.postgres import PostgresNotifier

CONNECT_SECONDS = 10.0


@contextlib.asynccontextmanager
async def connected_notifier(database_url: str, **options: float) -> AsyncIterator[PostgresNotifier]:
    """``options`` are those of the notifier."""
    async with PostgresNotifier(database_url, **options) as notifier:
        # Nothing else is published under this topic: a new connection notifies every mailbox.
        with notifier.listen("connected") as mailbox:
            assert await mailbox.wait(CONNECT_SECONDS), "no connection to the database"
        yield notifier
