"""One stream for everybody who is at the same place of it.

Whoever follows a stream is at a place: behind the last item he took. A ``Feed`` is one run through the stream, from
some place on; all who are where it is take their next item from it, so that an item is made once however many want
it. Nobody waits for anybody: a feed goes on when its fastest follower does, keeps its latest items for the others,
and who is further behind than that goes on with a feed of his own. When that one comes to a place where another
one is, they become one again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

KEPT_BYTES = 64 * 1024
"""How much of a feed is kept for slow followers; its newest item is kept whatever its size."""


class Item(Protocol):
    """Part of a stream."""

    @property
    def cursor(self) -> Hashable:
        """The place behind the item."""

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""


T = TypeVar("T", bound=Item)
OpenAt = Callable[[Hashable | None], AsyncGenerator[T, None]]
"""Opens a stream at a cursor, or at its beginning for ``None``."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The place where a stream begins that nobody has taken anything of yet."""

    name: Hashable


_Place = tuple[Hashable, Hashable | _Beginning]
"""A stream, and where in it."""


class Feeds(Generic[T]):
    """All feeds of this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._standing: dict[_Place, Feed[T]] = {}

    def __len__(self) -> int:
        """How many places have a feed."""
        return len(self._standing)

    async def follow(
        self, stream: Hashable, beginning: Hashable, open_at: OpenAt[T]
    ) -> AsyncGenerator[T, None]:
        """The items of a stream, each once and in order, until it ends.

        Two callers with the same ``stream`` must mean the same items wherever both come to the same cursor, and with
        the same ``beginning`` the same first item. To be closed with ``aclosing``.
        """
        place: _Place = (stream, _Beginning(beginning))
        while True:
            feed = self._join(place, open_at)
            number = feed.next_number
            try:
                while (item := await feed.item(number)) is not None:
                    yield item
                    place, number = (stream, item.cursor), number + 1
                    if feed.waits_at(number) and self._standing.setdefault(place, feed) is not feed:
                        break  # another one is here already
                else:
                    return
            except LeftBehind:
                pass
            finally:
                await feed.leave()

    def _join(self, place: _Place, open_at: OpenAt[T]) -> Feed[T]:
        """Only a feed which still has to make the item behind this place: what it made before may be out of date."""
        feed = self._standing.get(place) or Feed(place, open_at, self._standing)
        feed.join()
        return feed


class LeftBehind(Exception):
    """The item is no longer kept."""


class Feed(Generic[T]):
    """One run through a stream, at the pace of its fastest follower. Its items are numbered from 0."""

    def __init__(self, place: _Place, open_at: OpenAt[T], standing: dict[_Place, Feed[T]]) -> None:
        self.next_number = 0
        self._place = place
        self._standing = standing
        self._kept: deque[T] = deque()
        self._kept_bytes = 0
        self._followers = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._is_over = False
        self._failure: Exception | None = None
        self._stand_at(place)
        self._task = asyncio.create_task(self._run(open_at), name="feed")

    def join(self) -> None:
        self._followers += 1

    async def leave(self) -> None:
        """The last follower waits until the stream is closed."""
        self._followers -= 1
        if self._followers == 0:
            self._stand_nowhere()
            self._task.cancel()
            await asyncio.wait([self._task])

    def waits_at(self, number: int) -> bool:
        """Whether the item of this number has not been made, but may be."""
        return number == self.next_number and not self._is_over

    async def item(self, number: int) -> T | None:
        """The item of this number as soon as it is made, ``None`` behind the last one."""
        while self.waits_at(number):
            self._wanted.set()
            await self._news.wait()
        if number < self.next_number:
            return self._recall(number)
        if self._failure is not None:
            raise self._failure
        return None

    def _recall(self, number: int) -> T:
        index = number - self.next_number + len(self._kept)
        if index < 0:
            raise LeftBehind
        return self._kept[index]

    async def _run(self, open_at: OpenAt[T]) -> None:
        _, cursor = self._place
        try:
            async with aclosing(open_at(None if isinstance(cursor, _Beginning) else cursor)) as items:
                async for item in items:
                    self._wanted.clear()
                    self._add(item)
                    await self._wanted.wait()
        except Exception as error:
            self._failure = error
        finally:
            self._is_over = True
            self._stand_nowhere()
            self._tell()

    def _add(self, item: T) -> None:
        self.next_number += 1
        self._kept.append(item)
        self._kept_bytes += item.size_bytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popleft().size_bytes
        self._stand_nowhere()
        stream, _ = self._place
        self._stand_at((stream, item.cursor))
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _stand_at(self, place: _Place) -> None:
        """Where another feed stands already, the followers of this one will go over to it."""
        self._place = place
        self._standing.setdefault(place, self)

    def _stand_nowhere(self) -> None:
        if self._standing.get(self._place) is self:
            del self._standing[self._place]
