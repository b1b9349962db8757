"""Data loaders: what the resolvers of a level ask for one by one is read by one statement.

Strawberry has one too, but an answer of thousands of objects spends more time in it than in PostgreSQL: it makes three
objects for each key it is asked for, and the event loop calls somebody back for each of them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from app.errors import NotFound

K = TypeVar("K", bound=Hashable | None)
V = TypeVar("V")


class Loaded(Generic[V]):
    """The value of a key, for whoever awaits it.

    It has the methods of a future. But its callbacks are called at once when it is there, not by the event loop one
    by one, and an error that nobody asks for is nobody's business.
    """

    __slots__ = ("_callbacks", "_error", "_is_done", "_traceback", "_value")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Loaded[V]], object]] = []
        self._is_done = False
        self._value: V | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def __await__(self) -> Generator[Any, None, V]:
        if not self._is_done:
            there = asyncio.Event()
            self._callbacks.append(lambda _: there.set())
            yield from there.wait().__await__()
        return self.result()

    def done(self) -> bool:
        return self._is_done

    def cancelled(self) -> bool:
        return isinstance(self._error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        return self._error

    def result(self) -> V:
        if self._error is not None:
            # Many raise the same error: its traceback must not grow with each of them.
            raise self._error.with_traceback(self._traceback)
        return cast(V, self._value)

    def add_done_callback(self, callback: Callable[[Loaded[V]], object]) -> None:
        if self._is_done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def settle(self, value: V | None, error: BaseException | None = None) -> None:
        """Give the value or the error to all who wait; only the first call counts."""
        if self._is_done:
            return
        self._is_done, self._value, self._error = True, value, error
        self._traceback = error.__traceback__ if error is not None else None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class DataLoader(Generic[K, V]):
    """Loads the values of keys, each once, with ``load_batch``: a function from keys to their values in that order.

    A batch begins when everything that is ready to run has run, so that it gets the keys of all who are about to ask.
    """

    def __init__(self, load_batch: Callable[[list[K]], Awaitable[Sequence[V]]]) -> None:
        self._load_batch = load_batch
        self._loaded: dict[K, Loaded[V]] = {}
        self._waiting: list[K] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, key: K) -> Loaded[V]:
        loaded = self._loaded.get(key)
        if loaded is None:
            loaded = self._loaded[key] = Loaded()
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._begin)
            self._waiting.append(key)
        return loaded

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
        batch = [self._loaded[key] for key in keys]
        try:
            values = await self._load_batch(keys)
            for loaded, value in zip(batch, values, strict=True):
                loaded.settle(value)
        except BaseException as error:
            for loaded in batch:
                loaded.settle(None, error)
            if not isinstance(error, Exception):
                raise


class NodeLoader(DataLoader[uuid.UUID, V | None]):
    """Loads single nodes; ``load`` gives ``None`` for one that does not exist."""

    def __init__(self, load_batch: Callable[[list[uuid.UUID]], Awaitable[Sequence[V | None]]]) -> None:
        super().__init__(load_batch)
        self._required: dict[uuid.UUID, Loaded[V]] = {}

    def require(self, key: uuid.UUID) -> Loaded[V]:
        """The node another row refers to; only a deletion a moment ago can make it missing."""
        required = self._required.get(key)
        if required is None:
            required = self._required[key] = Loaded()
            self.load(key).add_done_callback(partial(require, required))
        return required


def require(required: Loaded[V], loaded: Loaded[V | None]) -> None:
    """Give ``required`` what was loaded, which must not be ``None``."""
    error = loaded.exception()
    if error is None and (value := loaded.result()) is not None:
        required.settle(value)
    else:
        required.settle(None, error or NotFound("This was deleted while the query ran."))


def later(value: Awaitable[V]) -> V:
    """For resolvers that return what they loaded without a look at it.

    GraphQL awaits whatever a resolver returns. An ``async def`` that only awaits a loader needs a task per object; a
    ``def`` that returns what the loader gave needs none.
    """
    return cast(V, value)
