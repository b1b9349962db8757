"""The broker against a real PostgreSQL: what wakes whom, and what survives a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from postgres_proxy import PostgresProxy

from app.database.engine import connect
from app.notifications.postgres import Broker, _payloads

SOON_SECONDS = 5.0
SILENCE_SECONDS = 0.2


@pytest.fixture
async def here(postgres_url: str) -> AsyncIterator[Broker]:
    async with connected(postgres_url) as broker:
        yield broker


@pytest.fixture
async def there(postgres_url: str) -> AsyncIterator[Broker]:
    """The broker of another process, as far as the database can tell."""
    async with connected(postgres_url) as broker:
        yield broker


@contextlib.asynccontextmanager
async def connected(postgres_url: str, **options: float) -> AsyncIterator[Broker]:
    async with Broker(postgres_url, **options) as broker:
        await asyncio.wait_for(broker.wait_connected(), SOON_SECONDS)
        yield broker


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not holds():  # noqa: ASYNC110 - the condition is outside of this process
            await asyncio.sleep(0.01)


async def terminate_brokers(postgres_url: str) -> int:
    """End the backends of all brokers of this database; how many there were."""
    connection = await connect(postgres_url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'mlp-broker' AND datname = current_database()"
        )
    finally:
        await connection.close()
    return count


async def test_a_hint_wakes_a_listener_of_the_same_process_without_a_database() -> None:
    async with Broker("postgresql://nobody@127.0.0.1:1/nowhere") as broker:
        with broker.listen("run:1") as hints:
            broker.publish("run:1")
            assert await hints.wait(SOON_SECONDS)
        assert not broker.is_connected


async def test_a_hint_wakes_a_listener_of_another_process(here: Broker, there: Broker) -> None:
    with there.listen("run:1", "run:2") as hints:
        here.publish("run:2")
        assert await hints.wait(SOON_SECONDS)


async def test_a_hint_wakes_nobody_who_listens_to_other_topics(here: Broker, there: Broker) -> None:
    with there.listen("run:1") as other, there.listen("run:2") as wanted:
        here.publish("run:2")
        assert await wanted.wait(SOON_SECONDS)
        assert not await other.wait(SILENCE_SECONDS)


async def test_a_local_hint_stays_in_the_process(here: Broker, there: Broker) -> None:
    with here.listen("log:1") as near, there.listen("log:1", "mark") as far:
        here.publish_local("log:1")
        assert await near.wait(SOON_SECONDS)
        assert not await far.wait(SILENCE_SECONDS)


async def test_a_hint_between_two_waits_is_kept_and_many_are_one(here: Broker) -> None:
    with here.listen("run:1") as hints:
        for _ in range(3):
            here.publish("run:1")
        assert await hints.wait(0.01)
        assert not await hints.wait(0.01)


async def test_a_burst_costs_few_notifications(here: Broker, there: Broker, postgres_url: str) -> None:
    received: list[object] = []
    spy = await connect(postgres_url)
    try:
        await spy.add_listener("mlp_hints", lambda *message: received.append(message))
        with there.listen("last") as hints:
            burst_ends_at = asyncio.get_running_loop().time() + 0.2
            while asyncio.get_running_loop().time() < burst_ends_at:
                here.publish("run:1")
                await asyncio.sleep(0)
            here.publish("last")
            assert await hints.wait(SOON_SECONDS)
        assert 0 < len(received) <= 50
    finally:
        await spy.close()


async def test_more_topics_than_can_be_kept_become_one_hint_to_everybody(here: Broker, there: Broker) -> None:
    with there.listen("not among them") as hints:
        here.publish(*(f"run:{number}" for number in range(6_000)))
        assert await hints.wait(SOON_SECONDS)


async def test_a_killed_connection_comes_back_and_hints_everybody(
    here: Broker, there: Broker, postgres_url: str
) -> None:
    with there.listen("run:1") as hints:
        assert await terminate_brokers(postgres_url) == 2
        assert await hints.wait(SOON_SECONDS), "the new connection is a hint"
        await asyncio.wait_for(here.wait_connected(), SOON_SECONDS)
        await asyncio.wait_for(there.wait_connected(), SOON_SECONDS)
        await hints.wait(SILENCE_SECONDS)
        here.publish("run:1")
        assert await hints.wait(SOON_SECONDS)


async def test_a_hint_published_while_the_connection_is_down_is_sent_later(
    here: Broker, there: Broker, postgres_url: str
) -> None:
    await terminate_brokers(postgres_url)
    await eventually(lambda: not here.is_connected)
    with there.listen("run:1") as hints:
        here.publish("run:1")
        await asyncio.wait_for(there.wait_connected(), SOON_SECONDS)
        assert await hints.wait(SOON_SECONDS)


async def test_a_connection_which_goes_silent_is_noticed_and_replaced(postgres_url: str) -> None:
    async with (
        PostgresProxy(postgres_url) as proxy,
        connected(proxy.url, self_check_seconds=0.05, answer_seconds=0.3) as broker,
    ):
        proxy.stall()
        await eventually(lambda: not broker.is_connected)
        proxy.flow()
        await asyncio.wait_for(broker.wait_connected(), SOON_SECONDS)
        assert proxy.connections >= 2


async def test_a_connection_used_while_the_server_ends_it_is_replaced(postgres_url: str) -> None:
    """The driver calls it an error of its own: another operation is in progress."""
    async with PostgresProxy(postgres_url) as proxy, connected(proxy.url, self_check_seconds=0.05) as broker:
        proxy.say_farewell()
        await eventually(lambda: proxy.connections >= 2)
        await asyncio.wait_for(broker.wait_connected(), SOON_SECONDS)


async def test_a_database_which_is_away_for_a_while_is_found_again(postgres_url: str) -> None:
    async with PostgresProxy(postgres_url) as proxy, connected(proxy.url) as broker:
        await proxy.close()
        await eventually(lambda: not broker.is_connected)
        with broker.listen("run:1") as hints:
            broker.publish("run:1")
            assert await hints.wait(SOON_SECONDS), "this process needs no database for its own hints"
        await proxy.reopen()
        await asyncio.wait_for(broker.wait_connected(), SOON_SECONDS)


class ExposedBroker(Broker):
    """Lets the test at the connection, to break it from inside."""

    connection: asyncpg.Connection

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with super()._connection() as connection:
            self.connection = connection
            yield connection


async def test_a_connection_which_no_longer_listens_is_noticed_and_replaced(postgres_url: str) -> None:
    async with ExposedBroker(postgres_url, self_check_seconds=0.05) as broker:
        await asyncio.wait_for(broker.wait_connected(), SOON_SECONDS)
        deaf = broker.connection
        await deaf.execute("UNLISTEN *")
        await eventually(lambda: broker.connection is not deaf and broker.is_connected)


def test_payloads_hold_every_topic_once_and_fit_in_a_notification() -> None:
    topics = [f"run:{number:036}" for number in range(1_000)]
    payloads = list(_payloads("sender", topics))
    assert [topic for payload in payloads for topic in payload.split(" ")[1:]] == topics
    assert all(payload.startswith("sender ") and len(payload) < 8_000 for payload in payloads)
