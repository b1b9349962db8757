"""The notifier against a real PostgreSQL: who is notified, and what survives a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from connected_notifier import connected_notifier
from postgres_proxy import PostgresProxy

from app.database.engine import connect
from app.notifications.postgres import PostgresNotifier, _payloads

SOON_SECONDS = 5.0
SILENCE_SECONDS = 0.2


@pytest.fixture
async def here(postgres_url: str) -> AsyncIterator[PostgresNotifier]:
    async with connected_notifier(postgres_url) as notifier:
        yield notifier


@pytest.fixture
async def there(postgres_url: str) -> AsyncIterator[PostgresNotifier]:
    """The notifier of another process, as far as the database can tell."""
    async with connected_notifier(postgres_url) as notifier:
        yield notifier


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not holds():  # noqa: ASYNC110 (the proxy has no event for it)
            await asyncio.sleep(0.01)


async def terminate_connections(postgres_url: str) -> int:
    """Terminate the backends of all notifiers of this database; returns how many there were."""
    connection = await connect(postgres_url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'mlp-notifier' AND datname = current_database()"
        )
    finally:
        await connection.close()
    return count


async def test_a_listener_of_the_same_process_is_notified_without_a_database() -> None:
    async with PostgresNotifier("postgresql://nobody@127.0.0.1:1/nowhere") as notifier:
        with notifier.listen("run:1") as mailbox:
            notifier.publish("run:1")
            assert await mailbox.wait(SOON_SECONDS)


async def test_a_listener_of_another_process_is_notified(
    here: PostgresNotifier, there: PostgresNotifier
) -> None:
    with there.listen("run:1", "run:2") as mailbox:
        here.publish("run:2")
        assert await mailbox.wait(SOON_SECONDS)


async def test_a_listener_of_other_topics_is_not_notified(
    here: PostgresNotifier, there: PostgresNotifier
) -> None:
    with there.listen("run:1") as other, there.listen("run:2") as wanted:
        here.publish("run:2")
        assert await wanted.wait(SOON_SECONDS)
        assert not await other.wait(SILENCE_SECONDS)


async def test_a_local_notification_stays_in_the_process(
    here: PostgresNotifier, there: PostgresNotifier
) -> None:
    with here.listen("log:1") as near, there.listen("log:1", "mark") as far:
        here.publish_local("log:1")
        assert await near.wait(SOON_SECONDS)
        assert not await far.wait(SILENCE_SECONDS)


async def test_notifications_between_two_waits_become_one(here: PostgresNotifier) -> None:
    with here.listen("run:1") as mailbox:
        for _ in range(3):
            here.publish("run:1")
        assert await mailbox.wait(0.01)
        assert not await mailbox.wait(0.01)


async def test_a_burst_is_sent_in_few_messages(
    here: PostgresNotifier, there: PostgresNotifier, postgres_url: str
) -> None:
    received: list[object] = []
    spy = await connect(postgres_url)
    try:
        await spy.add_listener("mlp_hints", lambda *message: received.append(message))
        with there.listen("last") as mailbox:
            burst_ends_at = asyncio.get_running_loop().time() + 0.2
            while asyncio.get_running_loop().time() < burst_ends_at:
                here.publish("run:1")
                await asyncio.sleep(0)
            here.publish("last")
            assert await mailbox.wait(SOON_SECONDS)
        assert 0 < len(received) <= 50
    finally:
        await spy.close()


async def test_more_topics_than_fit_in_memory_notify_every_listener(
    here: PostgresNotifier, there: PostgresNotifier
) -> None:
    with there.listen("not among them") as mailbox:
        here.publish(*(f"run:{number}" for number in range(6_000)))
        assert await mailbox.wait(SOON_SECONDS)


async def test_a_connection_that_replaces_a_terminated_one_notifies_every_listener(
    here: PostgresNotifier, there: PostgresNotifier, postgres_url: str
) -> None:
    with here.listen("run:2") as other, there.listen("run:1") as mailbox:
        assert await terminate_connections(postgres_url) == 2
        assert await mailbox.wait(SOON_SECONDS)
        assert await other.wait(SOON_SECONDS)
        here.publish("run:1")
        assert await mailbox.wait(SOON_SECONDS)


async def test_a_notification_published_without_a_connection_is_sent_by_the_next(
    there: PostgresNotifier, postgres_url: str
) -> None:
    async with PostgresProxy(postgres_url) as proxy, connected_notifier(proxy.url) as here:
        await proxy.close()
        with there.listen("run:1") as mailbox:
            here.publish("run:1")
            assert not await mailbox.wait(SILENCE_SECONDS)
            await proxy.reopen()
            assert await mailbox.wait(SOON_SECONDS)


async def test_a_connection_that_goes_silent_is_replaced(postgres_url: str) -> None:
    async with (
        PostgresProxy(postgres_url) as proxy,
        connected_notifier(proxy.url, self_check_seconds=0.05, answer_seconds=0.3) as notifier,
    ):
        with notifier.listen("run:1") as mailbox:
            proxy.stall()
            await eventually(lambda: proxy.connections >= 2)
            proxy.flow()
            assert await mailbox.wait(SOON_SECONDS)


async def test_a_connection_that_the_server_ends_during_use_is_replaced(postgres_url: str) -> None:
    """The driver reports that as an InterfaceError: another operation is in progress."""
    async with (
        PostgresProxy(postgres_url) as proxy,
        connected_notifier(proxy.url, self_check_seconds=0.05) as notifier,
    ):
        with notifier.listen("run:1") as mailbox:
            proxy.send_shutdown_messages()
            assert await mailbox.wait(SOON_SECONDS)
        assert proxy.connections >= 2


async def test_a_database_that_is_unreachable_for_a_while_is_reconnected(postgres_url: str) -> None:
    async with PostgresProxy(postgres_url) as proxy, connected_notifier(proxy.url) as notifier:
        await proxy.close()
        with notifier.listen("run:1") as mailbox:
            notifier.publish("run:1")
            assert await mailbox.wait(SOON_SECONDS), "this process is notified without the database"
            await proxy.reopen()
            assert await mailbox.wait(SOON_SECONDS)


class ExposedNotifier(PostgresNotifier):
    """Gives the test its connection, to break it from inside."""

    connection: asyncpg.Connection

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with super()._connection() as connection:
            self.connection = connection
            yield connection


async def test_a_connection_that_no_longer_delivers_is_replaced(postgres_url: str) -> None:
    async with ExposedNotifier(postgres_url, self_check_seconds=0.05) as notifier:
        with notifier.listen("run:1") as mailbox:
            assert await mailbox.wait(SOON_SECONDS)
            deaf = notifier.connection
            await deaf.execute("UNLISTEN *")
            assert await mailbox.wait(SOON_SECONDS)
            assert notifier.connection is not deaf


def test_payloads_hold_every_topic_once_and_fit_in_a_notification() -> None:
    topics = [f"run:{number:036}" for number in range(1_000)]
    payloads = list(_payloads("sender", topics))
    assert [topic for payload in payloads for topic in payload.split(" ")[1:]] == topics
    assert all(payload.startswith("sender ") and len(payload) < 8_000 for payload in payloads)
