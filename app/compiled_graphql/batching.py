"""Data loaders: what the resolvers of a level ask for one by one is read by one statement.

Strawberry has one too, but an answer of thousands of objects spends more time in it than in PostgreSQL: it makes three
objects for each key it is asked for, and the event loop calls somebody back for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

K = TypeVar("K", bound=Hashable | None)
V = TypeVar("V")


class Batch:
    """Keys whose values are read together, and their values in the same order once they are there."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.values: Sequence[Any] = ()
        self.is_done = False
        self.error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Batch], object]] = []

    def add_done_callback(self, callback: Callable[[Batch], object]) -> None:
        """Have ``callback`` called at once when the batch is done, which it must not be yet."""
        self._callbacks.append(callback)

    def settle(self, values: Sequence[Any], error: BaseException | None = None) -> None:
        self.is_done, self.values, self.error = True, values, error
        self._traceback = error.__traceback__ if error is not None else None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def value(self, place: int) -> Any:
        if self.error is not None:
            # Many raise the same error: its traceback must not grow with each of them.
            raise self.error.with_traceback(self._traceback)
        return self.values[place]


class Loaded(Generic[V]):
    """The value of a key, for whoever awaits it.

    Much less than a future: it is its batch that is awaited, and an error that nobody asks for is nobody's business.
    """

    __slots__ = ("_if_missing", "_place", "batch")

    def __init__(self, batch: Batch, place: int, if_missing: Callable[[], Exception] | None = None) -> None:
        self.batch = batch
        self._place = place
        self._if_missing = if_missing

    def __await__(self) -> Generator[Any, None, V]:
        if not self.batch.is_done:
            there = asyncio.Event()
            self.batch.add_done_callback(lambda _: there.set())
            yield from there.wait().__await__()
        return self.result()

    def result(self) -> V:
        value = self.batch.value(self._place)
        if value is None and self._if_missing is not None:
            raise self._if_missing()
        return cast(V, value)

    def required(self, if_missing: Callable[[], Exception]) -> Loaded[V]:
        """The same value; awaiting it raises the exception of ``if_missing`` when the value is ``None``."""
        return Loaded(self.batch, self._place, if_missing)


class DataLoader(Generic[K, V]):
    """Loads the values of keys, each once, with ``load_batch``: a function from keys to their values in that order.

    A batch begins when everything that is ready to run has run, so that it gets the keys of all who are about to ask.
    """

    def __init__(self, load_batch: Callable[[list[K]], Awaitable[Sequence[V]]]) -> None:
        self._load_batch = load_batch
        self._loaded: dict[K, Loaded[V]] = {}
        self._next: Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, key: K) -> Loaded[V]:
        loaded = self._loaded.get(key)
        if loaded is None:
            batch = self._next
            if batch is None:
                batch = self._next = Batch()
                asyncio.get_running_loop().call_soon(self._begin, batch)
            loaded = self._loaded[key] = Loaded(batch, len(batch.keys))
            batch.keys.append(key)
        return loaded

    def load_many(self, keys: Iterable[K]) -> asyncio.Future[list[V]]:
        return asyncio.gather(*map(self.load, keys))

    def stop(self) -> None:
        """Nobody waits any more: end what still runs, and forget all values.

        graphql-core's executors and their infos refer to each other, and through the context to this; thousands of
        objects would stay until the garbage collector looks for such cycles.
        """
        for task in self._tasks:
            task.cancel()
        self._loaded.clear()

    def _begin(self, batch: Batch) -> None:
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Batch) -> None:
        self._next = None
        try:
            values = await self._load_batch(batch.keys)
            if len(values) != len(batch.keys):
                raise ValueError(f"{len(values)} values for {len(batch.keys)} keys")
        except BaseException as error:
            batch.settle((), error)
            if not isinstance(error, Exception):
                raise
        else:
            batch.settle(values)


def unawaited(value: Awaitable[V]) -> V:
    """For resolvers that return what they loaded without a look at it.

    GraphQL awaits whatever a resolver returns. An ``async def`` that only awaits a loader needs a task per object; a
    ``def`` that returns what the loader gave needs none.
    """
    return cast(V, value)
