"""A notifier that already receives the notifications of other processes, so that its connection wakes no listener."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from app.notifications.postgres import Broker

CONNECT_SECONDS = 10.0


@contextlib.asynccontextmanager
async def connected_notifier(database_url: str, **options: float) -> AsyncIterator[Broker]:
    """``options`` are those of the notifier."""
    async with Broker(database_url, **options) as broker:
        # Nothing else is published under this topic: a new connection notifies every mailbox.
        with broker.listen("connected") as mailbox:
            assert await mailbox.wait(CONNECT_SECONDS), "no connection to the database"
        yield broker
