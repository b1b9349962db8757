"""One pass through a stream for all followers at the same position.

Each follower has a position: just after the last item it received. A ``SharedStream`` is one pass through the stream,
from some position on. All followers at its position take their next item from it, so an item is made once, however
many followers want it. No follower waits for another: a shared stream advances with its fastest follower and buffers
its latest items for the others. A follower that needs an item older than the buffer continues with a shared stream of
its own, and joins another one as soon as both are at the same position.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

BUFFER_BYTES = 64 * 1024
"""Size of the buffer for slow followers. The newest item is buffered whatever its size."""


class Item(Protocol):
    """Part of a stream."""

    @property
    def cursor(self) -> Hashable:
        """The position just after the item."""

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""


T = TypeVar("T", bound=Item)
OpenAt = Callable[[Hashable | None], AsyncGenerator[T, None]]
"""Opens a stream at a cursor, or at its beginning for ``None``."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The position before the first item."""

    name: Hashable


_Position = tuple[Hashable, Hashable | _Beginning]
"""A stream, and a cursor in it."""


class SharedStreams(Generic[T]):
    """All shared streams of this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._by_position: dict[_Position, SharedStream[T]] = {}

    def __len__(self) -> int:
        """The number of positions that have a shared stream."""
        return len(self._by_position)

    async def follow(
        self, stream: Hashable, beginning: Hashable, open_at: OpenAt[T]
    ) -> AsyncGenerator[T, None]:
        """The items of a stream, each once and in order, until it ends. Close it with ``aclosing``.

        Two callers with the same ``stream`` must expect the same items after the same cursor; two callers with the
        same ``stream`` and ``beginning`` must expect the same first item.
        """
        position: _Position = (stream, _Beginning(beginning))
        while True:
            shared = self._join(position, open_at)
            number = shared.next_number
            try:
                while (item := await shared.item(number)) is not None:
                    yield item
                    position, number = (stream, item.cursor), number + 1
                    if shared.is_still_to_make(number) and self._claim(position, shared) is not shared:
                        break  # another one serves this position already: join it
                else:
                    return
            except ItemDropped:
                pass
            finally:
                await shared.leave()

    def _join(self, position: _Position, open_at: OpenAt[T]) -> SharedStream[T]:
        """Joins a shared stream only before it has made the item at this position: a buffered one may be outdated."""
        shared = self._by_position.get(position) or SharedStream(position, open_at, self._by_position)
        shared.join()
        return shared

    def _claim(self, position: _Position, shared: SharedStream[T]) -> SharedStream[T]:
        """The shared stream of this position, which is ``shared`` if there is no other."""
        return self._by_position.setdefault(position, shared)


class ItemDropped(Exception):
    """The item is no longer in the buffer."""


class SharedStream(Generic[T]):
    """One pass through a stream, at the pace of its fastest follower. Its items are numbered from 0."""

    def __init__(
        self, position: _Position, open_at: OpenAt[T], by_position: dict[_Position, SharedStream[T]]
    ) -> None:
        self.next_number = 0
        self._position = position
        self._by_position = by_position
        self._buffer: deque[T] = deque()
        self._buffered_bytes = 0
        self._followers = 0
        self._item_wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._failure: Exception | None = None
        self._register_at(position)
        self._task = asyncio.create_task(self._run(open_at), name="shared stream")

    def join(self) -> None:
        """Count a follower."""
        self._followers += 1

    async def leave(self) -> None:
        """Discount a follower. The last one closes the stream and returns when it is closed."""
        self._followers -= 1
        if self._followers == 0:
            self._unregister()
            self._task.cancel()
            await asyncio.wait([self._task])

    def is_still_to_make(self, number: int) -> bool:
        """Whether the item of this number is the next one, and the stream has not ended."""
        return number == self.next_number and not self._has_ended

    async def item(self, number: int) -> T | None:
        """The item of this number as soon as it is made; ``None`` at the end of the stream.

        Raises ``ItemDropped`` for an item older than the buffer, and the error that has ended the stream.
        """
        while self.is_still_to_make(number):
            self._item_wanted.set()
            await self._changed.wait()
        if number < self.next_number:
            return self._buffered(number)
        if self._failure is not None:
            raise self._failure
        return None

    def _buffered(self, number: int) -> T:
        index = number - self.next_number + len(self._buffer)
        if index < 0:
            raise ItemDropped
        return self._buffer[index]

    async def _run(self, open_at: OpenAt[T]) -> None:
        _, cursor = self._position
        try:
            async with aclosing(open_at(None if isinstance(cursor, _Beginning) else cursor)) as items:
                async for item in items:
                    self._item_wanted.clear()
                    self._add(item)
                    await self._item_wanted.wait()
        except Exception as error:
            self._failure = error
        finally:
            self._has_ended = True
            self._unregister()
            self._wake_followers()

    def _add(self, item: T) -> None:
        self.next_number += 1
        self._buffer.append(item)
        self._buffered_bytes += item.size_bytes
        while self._buffered_bytes > BUFFER_BYTES and len(self._buffer) > 1:
            self._buffered_bytes -= self._buffer.popleft().size_bytes
        self._unregister()
        stream, _ = self._position
        self._register_at((stream, item.cursor))
        self._wake_followers()

    def _wake_followers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _register_at(self, position: _Position) -> None:
        """Move to this position. If another shared stream is registered there, the followers of this one join it."""
        self._position = position
        self._by_position.setdefault(position, self)

    def _unregister(self) -> None:
        if self._by_position.get(self._position) is self:
            del self._by_position[self._position]
