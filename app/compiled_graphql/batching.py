"""Data loaders: resolvers ask for one key each, and all keys of a level are loaded by one call.

Strawberry's loader makes three objects and schedules one callback per key: a response of thousands of objects would
spend more time in it than in PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

K = TypeVar("K", bound=Hashable | None)
V = TypeVar("V")


class Batch:
    """Keys whose values are loaded by one call, and the values, in the same order, once they are loaded."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.values: Sequence[Any] = ()
        self.is_done = False
        self.error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Batch], object]] = []

    def add_done_callback(self, callback: Callable[[Batch], object]) -> None:
        """Call ``callback`` when the batch is done. It must not be done yet."""
        self._callbacks.append(callback)

    def finish(self, values: Sequence[Any], error: BaseException | None = None) -> None:
        """Store the values, or the error of all of them, and call the callbacks."""
        self.is_done, self.values, self.error = True, values, error
        self._traceback = error.__traceback__ if error is not None else None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def value(self, index: int) -> Any:
        if self.error is not None:
            # Raised once per key: restore the traceback, which would grow each time.
            raise self.error.with_traceback(self._traceback)
        return self.values[index]


class Loaded(Generic[V]):
    """An awaitable of the value of one key.

    Cheaper than a future: awaiting it awaits its batch, and an error that no caller reads is dropped silently.
    """

    __slots__ = ("_if_missing", "_index", "batch")

    def __init__(self, batch: Batch, index: int, if_missing: Callable[[], Exception] | None = None) -> None:
        self.batch = batch
        self._index = index
        self._if_missing = if_missing

    def __await__(self) -> Generator[Any, None, V]:
        if not self.batch.is_done:
            done = asyncio.Event()
            self.batch.add_done_callback(lambda _: done.set())
            yield from done.wait().__await__()
        return self.result()

    def result(self) -> V:
        """The value; raises the error of the batch, which must be done."""
        value = self.batch.value(self._index)
        if value is None and self._if_missing is not None:
            raise self._if_missing()
        return cast(V, value)

    def required(self, if_missing: Callable[[], Exception]) -> Loaded[V]:
        """An awaitable of the same value that raises the exception of ``if_missing`` instead of giving ``None``."""
        return Loaded(self.batch, self._index, if_missing)


class DataLoader(Generic[K, V]):
    """Loads each key once, by ``load_batch``: a function from keys to their values in the same order.

    A batch is loaded after everything that is ready to run has run, so it contains the keys of all of that.
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
                asyncio.get_running_loop().call_soon(self._start, batch)
            loaded = self._loaded[key] = Loaded(batch, len(batch.keys))
            batch.keys.append(key)
        return loaded

    def load_many(self, keys: Iterable[K]) -> asyncio.Future[list[V]]:
        return asyncio.gather(*map(self.load, keys))

    def stop(self) -> None:
        """Cancel running batches and drop all values.

        graphql-core's executors and infos refer to each other, and through the context to this loader: without this,
        thousands of objects would stay in memory until the garbage collector finds the cycle.
        """
        for task in self._tasks:
            task.cancel()
        self._loaded.clear()

    def _start(self, batch: Batch) -> None:
        task = asyncio.create_task(self._load(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, batch: Batch) -> None:
        self._next = None
        try:
            values = await self._load_batch(batch.keys)
            if len(values) != len(batch.keys):
                raise ValueError(f"{len(values)} values for {len(batch.keys)} keys")
        except BaseException as error:
            batch.finish((), error)
            if not isinstance(error, Exception):
                raise
        else:
            batch.finish(values)


def unawaited(value: Awaitable[V]) -> V:
    """``value`` itself, typed as what awaiting it gives: for a resolver that returns a loader's awaitable.

    GraphQL awaits what a resolver returns. A resolver that awaits the loader needs a task per object; one that returns
    the awaitable needs none.
    """
    return cast(V, value)
