"""Followers of one stream share its items, each receives all of them in order, and none waits for another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from app.notifications.shared_streams import BUFFER_BYTES, SharedStreams

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Item:
    """The numbers from ``first`` to ``cursor``, as of the ``version`` at which the item was made."""

    first: int
    cursor: int
    version: int
    size_bytes: int


class Numbers:
    """A stream of the numbers from 1 to ``last``, as many per item as there are; ``end`` ends it."""

    def __init__(self, size_bytes: int = 10) -> None:
        self.size_bytes = size_bytes
        self.last = 0
        self.is_final = False
        self.version = 0
        self.made: list[tuple[int, int]] = []
        self.opened = 0
        self.open = 0
        self._changed = asyncio.Event()

    def add(self, count: int = 1) -> None:
        self.last += count
        self._wake_readers()

    def end(self) -> None:
        self.is_final = True
        self._wake_readers()

    async def after(self, cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        self.opened += 1
        self.open += 1
        position = cursor if isinstance(cursor, int) else 0
        try:
            while True:
                changed = self._changed
                if self.last > position:
                    await asyncio.sleep(0)
                    item = Item(position + 1, self.last, self.version, self.size_bytes)
                    self.made.append((item.first, item.cursor))
                    yield item
                    position = item.cursor
                elif self.is_final:
                    return
                else:
                    await changed.wait()
        finally:
            self.open -= 1

    def _wake_readers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Follower:
    """Takes the items one by one, when the test says so."""

    def __init__(self, streams: SharedStreams[Item], numbers: Numbers, beginning: str = "") -> None:
        self.items = streams.follow("numbers", beginning, numbers.after)
        self.seen: list[int] = []

    async def take(self) -> Item:
        item = await asyncio.wait_for(anext(self.items), PATIENCE_SECONDS)
        self.seen += range(item.first, item.cursor + 1)
        return item

    async def take_up_to(self, last: int) -> list[int]:
        while not self.seen or self.seen[-1] < last:
            await self.take()
        return self.seen


@pytest.fixture
def streams() -> SharedStreams[Item]:
    return SharedStreams()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_item_is_made_once_for_all_followers_at_the_same_position(
    streams: SharedStreams[Item],
) -> None:
    numbers = Numbers()
    followers = [Follower(streams, numbers) for _ in range(20)]
    for number in (1, 2, 3):
        waiting = [asyncio.create_task(follower.take()) for follower in followers]
        await settle()
        numbers.add()
        items = await asyncio.gather(*waiting)
        assert all(item is items[0] for item in items)
        assert numbers.made == [(seq, seq) for seq in range(1, number + 1)]
    for follower in followers:
        await follower.items.aclose()


async def test_a_late_follower_catches_up_alone_and_shares_from_then_on(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    early, late = Follower(streams, numbers), Follower(streams, numbers, "later")
    numbers.add(5)
    await early.take()
    waiting = asyncio.create_task(early.take())
    assert (await late.take()).first == 1
    also_waiting = asyncio.create_task(late.take())
    await settle()
    numbers.add()
    assert await waiting is await also_waiting
    assert numbers.made == [(1, 5), (1, 5), (6, 6)]
    assert numbers.open == len(streams) == 1
    for follower in (early, late):
        await follower.items.aclose()


async def test_a_follower_that_just_missed_the_others_continues_with_a_stream_of_its_own(
    streams: SharedStreams[Item],
) -> None:
    numbers = Numbers()
    numbers.add(5)
    early, late = Follower(streams, numbers), Follower(streams, numbers, "later")
    await early.take()
    await late.take()
    numbers.add()
    await early.take()
    assert await late.take_up_to(6) == list(range(1, 7))
    assert numbers.opened == 2
    waiting = [asyncio.create_task(follower.take()) for follower in (early, late)]
    await settle()
    numbers.add()
    one, other = await asyncio.gather(*waiting)
    assert one is other
    for follower in (early, late):
        await follower.items.aclose()


async def test_no_follower_receives_an_item_made_before_it_came(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    numbers.add()
    early = Follower(streams, numbers)
    assert (await early.take()).version == 0
    numbers.version = 1
    newcomer = Follower(streams, numbers)
    assert (await newcomer.take()).version == 1
    for follower in (early, newcomer):
        await follower.items.aclose()


async def test_a_follower_a_little_behind_receives_the_same_items(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    fast, slow = Follower(streams, numbers), Follower(streams, numbers)
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settle()
    numbers.add()
    await asyncio.gather(*waiting)
    for last in range(2, 30):
        numbers.add()
        await fast.take_up_to(last)
    assert await slow.take_up_to(29) == list(range(1, 30))
    assert len(numbers.made) == 29
    for follower in (fast, slow):
        await follower.items.aclose()


async def test_a_follower_that_is_far_behind_continues_where_it_was(streams: SharedStreams[Item]) -> None:
    numbers = Numbers(size_bytes=BUFFER_BYTES // 4)
    fast, slow = Follower(streams, numbers), Follower(streams, numbers)
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settle()
    numbers.add()
    await asyncio.gather(*waiting)
    for last in range(2, 30):
        numbers.add()
        await fast.take_up_to(last)
    assert await slow.take_up_to(29) == list(range(1, 30))
    assert numbers.made[-1] == (2, 29), "one item holds all numbers it has missed"
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settle()
    numbers.add()
    one, other = await asyncio.gather(*waiting)
    assert one is other
    assert numbers.open == 1
    for follower in (fast, slow):
        await follower.items.aclose()


async def test_a_stalled_follower_delays_no_other_and_the_stream_closes_with_its_last_follower(
    streams: SharedStreams[Item],
) -> None:
    numbers = Numbers()
    stalled, other = Follower(streams, numbers), Follower(streams, numbers)
    numbers.add()
    await asyncio.gather(stalled.take(), other.take())
    numbers.add(3)
    assert await other.take_up_to(4) == [1, 2, 3, 4]
    await other.items.aclose()
    assert numbers.open == 1
    await stalled.items.aclose()
    assert (numbers.open, len(streams)) == (0, 0)


async def test_the_end_reaches_every_follower_at_any_position(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    followers = [Follower(streams, numbers) for _ in range(5)]
    numbers.add()
    await asyncio.gather(*(follower.take() for follower in followers))
    numbers.add()
    await followers[0].take()
    numbers.end()
    for follower in followers:
        rest = [item async for item in follower.items]
        assert follower.seen + [item.cursor for item in rest] == [1, 2]
    assert (numbers.opened, numbers.open, len(streams)) == (1, 0, 0)


async def test_a_follower_cancelled_while_it_waits_disturbs_no_other(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    leaving_follower, staying_follower = Follower(streams, numbers), Follower(streams, numbers)
    leaving = asyncio.create_task(leaving_follower.take())
    staying = asyncio.create_task(staying_follower.take())
    await settle()
    leaving.cancel()
    await asyncio.wait([leaving])
    numbers.add()
    assert (await staying).cursor == 1
    await staying_follower.items.aclose()
    assert (numbers.opened, numbers.open, len(streams)) == (1, 0, 0)


async def test_an_error_of_a_stream_reaches_all_its_followers(streams: SharedStreams[Item]) -> None:
    async def broken(_cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        yield Item(1, 1, 0, 10)
        raise OSError("broken")

    broken_streams = [streams.follow("broken", "", broken) for _ in range(3)]
    await asyncio.gather(*(anext(stream) for stream in broken_streams))
    for stream in broken_streams:
        with pytest.raises(OSError, match="broken"):
            await anext(stream)
    assert len(streams) == 0


async def test_no_item_is_made_before_a_follower_wants_it(streams: SharedStreams[Item]) -> None:
    numbers = Numbers()
    follower = Follower(streams, numbers)
    for last in (1, 2, 3):
        numbers.add()
        await settle()
        assert len(numbers.made) == last - 1
        await follower.take_up_to(last)
    await follower.items.aclose()


async def test_no_follower_joins_a_stream_that_has_failed(streams: SharedStreams[Item]) -> None:
    opened = 0

    async def broken_once(_cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        nonlocal opened
        opened += 1
        yield Item(1, 1, 0, 10)
        if opened == 1:
            raise OSError("broken")
        yield Item(2, 2, 0, 10)

    slow, fast = (streams.follow("broken", "", broken_once) for _ in range(2))
    await asyncio.gather(anext(slow), anext(fast))
    with pytest.raises(OSError, match="broken"):
        await anext(fast)
    assert [item.cursor async for item in streams.follow("broken", "", broken_once)] == [1, 2]
    await slow.aclose()
    assert len(streams) == 0


@pytest.mark.parametrize("size_bytes", [10, BUFFER_BYTES // 3, 2 * BUFFER_BYTES])
@pytest.mark.parametrize("seed", range(5))
async def test_each_of_many_followers_receives_every_number_once_at_any_pace(
    streams: SharedStreams[Item], size_bytes: int, seed: int
) -> None:
    chance = random.Random(seed)
    numbers = Numbers(size_bytes)

    async def write() -> None:
        for _ in range(100):
            numbers.add(chance.choice((1, 1, 1, 5)))
            for _ in range(chance.randint(0, 5)):
                await asyncio.sleep(0)
        numbers.end()

    async def read(pauses: int) -> list[int]:
        for _ in range(chance.randint(0, 200)):
            await asyncio.sleep(0)
        seen: list[int] = []
        async with aclosing(streams.follow("numbers", chance.randint(0, 3), numbers.after)) as items:
            async for item in items:
                seen += range(item.first, item.cursor + 1)
                for _ in range(chance.randint(0, pauses)):
                    await asyncio.sleep(0)
        return seen

    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(chance.choice((0, 3, 50)))) for _ in range(30)]
        tasks.create_task(write())
    for reader in readers:
        assert reader.result() == list(range(1, numbers.last + 1))
    assert (numbers.open, len(streams)) == (0, 0)
