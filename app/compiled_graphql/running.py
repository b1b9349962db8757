"""The state of one execution: which values are still awaited, and what to do when one of them is there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    located_error,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path

from app.compiled_graphql.batching import Batch, Loaded

Place: TypeAlias = "tuple[Place, str | int, str | None] | None"
"""Where a value lies in the response: graphql-core's ``Path``, but as a plain tuple, which is made much faster."""

Anchor: TypeAlias = "tuple[Any, str | int, Place] | None"
"""(container, key, place) of the nearest position around a value that may be null; ``None`` is the data as a whole."""

Future: TypeAlias = asyncio.Future[Any] | Loaded[Any]

Complete: TypeAlias = "Callable[[Any, Place, Run, Anchor], Any]"
"""(value, its place, run, anchor of what is below it) -> what the response shows of it."""


class Later(Exception):
    """Raised by a ``Complete`` if graphql-core is at work on the value: ``completed`` awaits what it makes of it."""

    def __init__(self, completed: Awaitable[Any]) -> None:
        self.completed = completed


@dataclass(slots=True, eq=False)
class Field:
    """A field of a selection set."""

    key: str
    """Its name in the response."""
    details: FieldDetailsList
    nodes: list[FieldNode]
    definition: GraphQLField
    parent: GraphQLObjectType
    required: bool
    """Its type is non-null."""


@dataclass(slots=True, eq=False)
class Expected:
    """What the values of a field, or the items of its lists, are when they are awaited."""

    field: Field
    complete: Complete
    required: bool

    @classmethod
    def of(cls, field: Field, complete: Complete, required: bool) -> tuple[Expected, Expected]:
        """Values which are still to be completed, and those which graphql-core completes."""
        return cls(field, complete, required), cls(field, as_completed, required)


class Slot:
    """A position of the response whose value is awaited."""

    __slots__ = ("anchor", "container", "expected", "future", "place")
    future: Future

    def __init__(self, expected: Expected, container: Any, place: Place, anchor: Anchor) -> None:
        self.expected = expected
        self.container = container
        self.place = place
        self.anchor = anchor

    def fill(self, run: Run) -> None:
        """Complete the value that has arrived, unless nobody will see it any more."""
        place, expected = self.place, self.expected
        assert place is not None
        if run.errors and run.is_nulled(place):
            see(self.future)
            return
        here = self.anchor if expected.required else (self.container, place[1], place)
        try:
            self.container[place[1]] = expected.complete(self.future.result(), place, run, here)
        except Later as later:
            self.expected = Expected(expected.field, as_completed, expected.required)
            run.wait(later.completed, self)
        except Exception as error:
            self._fail(error, place, run)

    def _fail(self, error: Exception, place: tuple[Place, str | int, str | None], run: Run) -> None:
        field, required = self.expected.field, self.expected.required
        if not (required and run.propagates):
            self.container[place[1]] = run.failed(error, field, place, required=False)
            return
        located = run.located(error, field, place)
        if self.anchor is None:
            raise located
        container, key, above = self.anchor
        container[key] = None
        run.executor.collected_errors.add(located, path_of(above))


class Run:
    """One execution of an operation."""

    def __init__(self, executor: Executor[Any]) -> None:
        self.executor = executor
        self.context = executor.context_value
        self.propagates = executor.error_propagation
        self.is_awaitable = executor.is_awaitable
        self.errors = executor.collected_errors.errors
        self.arguments: dict[Any, dict[str, Any]] = {}
        """Arguments that depend on variables, kept for all objects with the same field."""
        self._batches: dict[Batch, list[Slot]] = {}
        """Slots that wait for what a loader loads, by the batch: it is awaited once for all of them."""
        self._begun: list[tuple[Awaitable[Any], Slot]] = []
        self._tasks: list[asyncio.Future[Any]] = []
        self._arrived: deque[Slot] = deque()
        self._open = 0
        self._alarm: asyncio.Future[None] | None = None
        self._abandoned = False

    @property
    def waits(self) -> bool:
        return bool(self._begun or self._batches or self._arrived)

    def wait(self, awaitable: Awaitable[Any], slot: Slot) -> None:
        """Have ``slot`` filled with the value of ``awaitable``."""
        if awaitable.__class__ is not Loaded:
            self._begun.append((awaitable, slot))
            return
        slot.future = awaitable
        batch = awaitable.batch
        if batch.is_done:
            self._arrived.append(slot)
            return
        slots = self._batches.get(batch)
        if slots is None:
            slots = self._batches[batch] = []
            batch.add_done_callback(self._arrive_all)
        slots.append(slot)

    def _arrive(self, slot: Slot, future: asyncio.Future[Any]) -> None:
        if self._abandoned:
            see(future)
            return
        self._open -= 1
        self._arrived.append(slot)
        self._wake_up()

    def _arrive_all(self, batch: Batch) -> None:
        if not self._abandoned:
            self._arrived.extend(self._batches.pop(batch))
            self._wake_up()

    def _wake_up(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    async def fill_slots(self) -> None:
        """Return when nothing is awaited any more; raises an error that nulls the data as a whole.

        Values that arrive together are completed together, so what they ask the loaders for is one batch.
        """
        try:
            while self._begun or self._open or self._batches or self._arrived:
                self._watch()
                if not self._arrived:
                    self._alarm = asyncio.get_running_loop().create_future()
                    await self._alarm
                while self._arrived:
                    self._arrived.popleft().fill(self)
        except BaseException:
            self.abandon()
            raise

    def _watch(self) -> None:
        begun, self._begun = self._begun, []
        for awaitable, slot in begun:
            slot.future = future = self._future(awaitable)
            if future.done():
                self._arrived.append(slot)
            else:
                self._open += 1
                future.add_done_callback(partial(self._arrive, slot))

    def _future(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        if asyncio.isfuture(awaitable):
            return awaitable
        task = asyncio.ensure_future(awaitable)
        self._tasks.append(task)
        return task

    def abandon(self) -> None:
        """Stop everything that is still at work, for nobody needs its values."""
        self._abandoned = True
        for awaitable, _ in self._begun:
            discard(awaitable)
        for slot in self._arrived:
            see(slot.future)
        for task in self._tasks:
            task.cancel()

    def failed(self, error: Exception, field: Field, place: Place, *, required: bool) -> Any:
        """What becomes of a position with an error: null, or the error goes on to the position around it."""
        located = self.located(error, field, place)
        if required and self.propagates:
            raise located
        self.executor.collected_errors.add(located, path_of(place))
        return None

    def located(self, error: Exception, field: Field, place: Place) -> GraphQLError:
        return located_error(error, field.nodes, keys_of(place))

    def is_nulled(self, place: Place) -> bool:
        return self.executor.collected_errors.has_nulled_position(path_of(place))

    def resolve_info(self, field: Field, place: Place) -> GraphQLResolveInfo[Any]:
        path = path_of(place)
        assert path is not None
        return self.executor.build_resolve_info(field.definition, field.nodes, field.parent, path)


def as_completed(value: Any, place: Place, run: Run, anchor: Anchor) -> Any:
    return value


def field_place(place: Place) -> Place:
    """The place of the field which a value belongs to: the same, but for items of lists."""
    while place is not None and isinstance(place[1], int):
        place = place[0]
    return place


def discard(awaitable: Any) -> None:
    """Nobody will await ``awaitable``."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
    elif asyncio.isfuture(awaitable):
        awaitable.add_done_callback(see)


def see(future: Future) -> None:
    """Keep asyncio from complaining about an error that does not matter any more."""
    if asyncio.isfuture(future) and not future.cancelled():
        future.exception()


def path_of(place: Place) -> Path | None:
    return None if place is None else Path(path_of(place[0]), place[1], place[2])


def keys_of(place: Place) -> list[str | int]:
    keys: list[str | int] = []
    while place is not None:
        keys.append(place[1])
        place = place[0]
    return keys[::-1]
