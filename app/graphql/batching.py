"""Data loaders: what the resolvers of a level ask for one by one is read by one statement.

Strawberry has one too, but an answer of thousands of objects spends more time in it than in PostgreSQL: it makes two
objects and a callback for each key it is asked for.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar, cast

from app.errors import NotFound

K = TypeVar("K", bound=Hashable | None)
V = TypeVar("V")


class DataLoader(Generic[K, V]):
    """Loads the values of keys, each once, with ``load_batch``: a function from keys to their values in that order.

    A batch begins when everything that is ready to run has run, so that it gets the keys of all who are about to ask.
    """

    def __init__(self, load_batch: Callable[[list[K]], Awaitable[Sequence[V]]]) -> None:
        self._load_batch = load_batch
        self._futures: dict[K, asyncio.Future[V]] = {}
        self._waiting: list[K] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, key: K) -> asyncio.Future[V]:
        future = self._futures.get(key)
        if future is None or future.cancelled():
            loop = asyncio.get_running_loop()
            future = self._futures[key] = loop.create_future()
            if not self._waiting:
                loop.call_soon(self._begin)
            self._waiting.append(key)
        return future

    def load_many(self, keys: Iterable[K]) -> asyncio.Future[list[V]]:
        return asyncio.gather(*map(self.load, keys))

    def stop(self) -> None:
        """Nobody waits any more: end what still runs."""
        for task in self._tasks:
            task.cancel()

    def _begin(self) -> None:
        task = asyncio.create_task(self._run_batch())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_batch(self) -> None:
        keys, self._waiting = self._waiting, []
        futures = [self._futures[key] for key in keys]
        try:
            values = await self._load_batch(keys)
            for future, value in zip(futures, values, strict=True):
                if not future.done():
                    future.set_result(value)
        except Exception as error:
            for future in futures:
                fail(future, error)
        except BaseException:
            for future in futures:
                future.cancel()
            raise


class NodeLoader(DataLoader[uuid.UUID, V | None]):
    """Loads single nodes; ``load`` gives ``None`` for one that does not exist."""

    def __init__(self, load_batch: Callable[[list[uuid.UUID]], Awaitable[Sequence[V | None]]]) -> None:
        super().__init__(load_batch)
        self._required: dict[uuid.UUID, asyncio.Future[V]] = {}

    def require(self, key: uuid.UUID) -> asyncio.Future[V]:
        """The node another row refers to; only a deletion a moment ago can make it missing."""
        future = self._required.get(key)
        if future is None or future.cancelled():
            future = self._required[key] = asyncio.get_running_loop().create_future()
            self.load(key).add_done_callback(partial(require, future))
        return future


def require(required: asyncio.Future[V], loaded: asyncio.Future[V | None]) -> None:
    """Answer ``required`` with what was loaded, which must not be ``None``."""
    if required.done():
        return
    if loaded.cancelled():
        required.cancel()
    elif error := loaded.exception():
        fail(required, error)
    elif (value := loaded.result()) is None:
        fail(required, NotFound("This was deleted while the query ran."))
    else:
        required.set_result(value)


def fail(future: asyncio.Future[V], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # asyncio shall not complain if nobody asks any more


def later(value: Awaitable[V]) -> V:
    """For resolvers that return what they loaded without a look at it.

    GraphQL awaits whatever a resolver returns. An ``async def`` that only awaits a loader needs a task per object; a
    ``def`` that returns the loader's future needs none.
    """
    return cast(V, value)
