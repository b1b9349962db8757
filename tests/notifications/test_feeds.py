"""Followers of one stream share its items, each sees all of them in order, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from app.notifications.feeds import KEPT_BYTES, Feeds

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Item:
    """The numbers ``first`` to ``cursor``, as they were when somebody asked."""

    first: int
    cursor: int
    version: int
    size_bytes: int


class Numbers:
    """A stream of the numbers from 1 on, several at a time if there are; it ends when it is told to."""

    def __init__(self, size_bytes: int = 10) -> None:
        self.size_bytes = size_bytes
        self.last = 0
        self.is_final = False
        self.version = 0
        self.made: list[tuple[int, int]] = []
        self.opened = 0
        self.open = 0
        self._news = asyncio.Event()

    def add(self, count: int = 1) -> None:
        self.last += count
        self._tell()

    def end(self) -> None:
        self.is_final = True
        self._tell()

    async def after(self, cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        self.opened += 1
        self.open += 1
        place = cursor if isinstance(cursor, int) else 0
        try:
            while True:
                news = self._news
                if self.last > place:
                    await asyncio.sleep(0)
                    item = Item(place + 1, self.last, self.version, self.size_bytes)
                    self.made.append((item.first, item.cursor))
                    yield item
                    place = item.cursor
                elif self.is_final:
                    return
                else:
                    await news.wait()
        finally:
            self.open -= 1

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Follower:
    """Somebody who takes the items one by one."""

    def __init__(self, feeds: Feeds[Item], numbers: Numbers, beginning: str = "") -> None:
        self.items = feeds.follow("numbers", beginning, numbers.after)
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
def feeds() -> Feeds[Item]:
    return Feeds()


async def settled() -> None:
    """Let everybody go on who can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_item_is_made_once_for_all_who_are_at_the_same_place(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    followers = [Follower(feeds, numbers) for _ in range(20)]
    for number in (1, 2, 3):
        waiting = [asyncio.create_task(follower.take()) for follower in followers]
        await settled()
        numbers.add()
        items = await asyncio.gather(*waiting)
        assert all(item is items[0] for item in items)
        assert numbers.made == [(seq, seq) for seq in range(1, number + 1)]
    for follower in followers:
        await follower.items.aclose()


async def test_a_late_follower_catches_up_alone_and_shares_from_then_on(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    early, late = Follower(feeds, numbers), Follower(feeds, numbers, "later")
    numbers.add(5)
    await early.take()
    waiting = asyncio.create_task(early.take())
    assert (await late.take()).first == 1
    also_waiting = asyncio.create_task(late.take())
    await settled()
    numbers.add()
    assert await waiting is await also_waiting
    assert numbers.made == [(1, 5), (1, 5), (6, 6)]
    assert numbers.open == len(feeds) == 1
    for follower in (early, late):
        await follower.items.aclose()


async def test_who_just_missed_the_others_goes_on_with_his_own_feed(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    numbers.add(5)
    early, late = Follower(feeds, numbers), Follower(feeds, numbers, "later")
    await early.take()
    await late.take()
    numbers.add()
    await early.take()
    assert await late.take_up_to(6) == list(range(1, 7))
    assert numbers.opened == 2
    waiting = [asyncio.create_task(follower.take()) for follower in (early, late)]
    await settled()
    numbers.add()
    one, other = await asyncio.gather(*waiting)
    assert one is other
    for follower in (early, late):
        await follower.items.aclose()


async def test_nobody_is_given_what_was_made_before_he_came(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    numbers.add()
    early = Follower(feeds, numbers)
    assert (await early.take()).version == 0
    numbers.version = 1
    same_request = Follower(feeds, numbers)
    assert (await same_request.take()).version == 1
    for follower in (early, same_request):
        await follower.items.aclose()


async def test_a_follower_a_little_behind_is_given_the_same_items(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    fast, slow = Follower(feeds, numbers), Follower(feeds, numbers)
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settled()
    numbers.add()
    await asyncio.gather(*waiting)
    for last in range(2, 30):
        numbers.add()
        await fast.take_up_to(last)
    assert await slow.take_up_to(29) == list(range(1, 30))
    assert len(numbers.made) == 29
    for follower in (fast, slow):
        await follower.items.aclose()


async def test_a_follower_who_is_left_behind_goes_on_where_he_was(feeds: Feeds[Item]) -> None:
    numbers = Numbers(size_bytes=KEPT_BYTES // 4)
    fast, slow = Follower(feeds, numbers), Follower(feeds, numbers)
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settled()
    numbers.add()
    await asyncio.gather(*waiting)
    for last in range(2, 30):
        numbers.add()
        await fast.take_up_to(last)
    assert await slow.take_up_to(29) == list(range(1, 30))
    assert numbers.made[-1] == (2, 29), "one item held all that he had missed"
    waiting = [asyncio.create_task(follower.take()) for follower in (fast, slow)]
    await settled()
    numbers.add()
    one, other = await asyncio.gather(*waiting)
    assert one is other
    assert numbers.open == 1
    for follower in (fast, slow):
        await follower.items.aclose()


async def test_a_stalled_follower_holds_up_nobody_and_keeps_the_stream_open_for_nobody(
    feeds: Feeds[Item],
) -> None:
    numbers = Numbers()
    stalled, other = Follower(feeds, numbers), Follower(feeds, numbers)
    numbers.add()
    await asyncio.gather(stalled.take(), other.take())
    numbers.add(3)
    assert await other.take_up_to(4) == [1, 2, 3, 4]
    await other.items.aclose()
    assert numbers.open == 1
    await stalled.items.aclose()
    assert (numbers.open, len(feeds)) == (0, 0)


async def test_the_end_reaches_everybody_wherever_he_is(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    followers = [Follower(feeds, numbers) for _ in range(5)]
    numbers.add()
    await asyncio.gather(*(follower.take() for follower in followers))
    numbers.add()
    await followers[0].take()
    numbers.end()
    for follower in followers:
        rest = [item async for item in follower.items]
        assert follower.seen + [item.cursor for item in rest] == [1, 2]
    assert (numbers.opened, numbers.open, len(feeds)) == (1, 0, 0)


async def test_a_follower_who_is_cancelled_while_he_waits_harms_nobody(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    leaver, stayer = Follower(feeds, numbers), Follower(feeds, numbers)
    leaving = asyncio.create_task(leaver.take())
    staying = asyncio.create_task(stayer.take())
    await settled()
    leaving.cancel()
    await asyncio.wait([leaving])
    numbers.add()
    assert (await staying).cursor == 1
    await stayer.items.aclose()
    assert (numbers.opened, numbers.open, len(feeds)) == (1, 0, 0)


async def test_what_breaks_a_stream_reaches_all_its_followers(feeds: Feeds[Item]) -> None:
    async def broken(_cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        yield Item(1, 1, 0, 10)
        raise OSError("broken")

    streams = [feeds.follow("broken", "", broken) for _ in range(3)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    for stream in streams:
        with pytest.raises(OSError, match="broken"):
            await anext(stream)
    assert len(feeds) == 0


async def test_nothing_is_made_before_somebody_wants_it(feeds: Feeds[Item]) -> None:
    numbers = Numbers()
    follower = Follower(feeds, numbers)
    for last in (1, 2, 3):
        numbers.add()
        await settled()
        assert len(numbers.made) == last - 1
        await follower.take_up_to(last)
    await follower.items.aclose()


async def test_nobody_joins_what_is_broken(feeds: Feeds[Item]) -> None:
    opened = 0

    async def broken_once(_cursor: Hashable | None) -> AsyncGenerator[Item, None]:
        nonlocal opened
        opened += 1
        yield Item(1, 1, 0, 10)
        if opened == 1:
            raise OSError("broken")
        yield Item(2, 2, 0, 10)

    slow, fast = (feeds.follow("broken", "", broken_once) for _ in range(2))
    await asyncio.gather(anext(slow), anext(fast))
    with pytest.raises(OSError, match="broken"):
        await anext(fast)
    assert [item.cursor async for item in feeds.follow("broken", "", broken_once)] == [1, 2]
    await slow.aclose()
    assert len(feeds) == 0


@pytest.mark.parametrize("size_bytes", [10, KEPT_BYTES // 3, 2 * KEPT_BYTES])
@pytest.mark.parametrize("seed", range(5))
async def test_each_of_many_followers_sees_every_number_once_whatever_the_pace(
    feeds: Feeds[Item], size_bytes: int, seed: int
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
        async with aclosing(feeds.follow("numbers", chance.randint(0, 3), numbers.after)) as items:
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
    assert (numbers.open, len(feeds)) == (0, 0)
