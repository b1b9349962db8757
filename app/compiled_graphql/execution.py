"""One execution of an operation: the values it awaits, and how each is completed once it is ready."""

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

ResponsePath: TypeAlias = "tuple[ResponsePath, str | int, str | None] | None"
"""Where a value is in the response: (path of what contains it, key or index, type name).

The same as graphql-core's ``Path``, but a plain tuple, which takes far less time to make. ``None`` is the root.
"""

NullTarget: TypeAlias = "tuple[Any, str | int, ResponsePath] | None"
"""(container, key, path) of the nearest nullable position at or above a value: an error of the value makes it null.

``None`` is the data as a whole.
"""

Future: TypeAlias = asyncio.Future[Any] | Loaded[Any]

Complete: TypeAlias = "Callable[[Any, ResponsePath, Execution, NullTarget], Any]"
"""(value, its path, execution, null target of what it contains) -> the value as the response shows it."""


class CompletedByCore(Exception):
    """Raised by a ``Complete`` that leaves a value to graphql-core: ``completed`` awaits the completed value."""

    def __init__(self, completed: Awaitable[Any]) -> None:
        self.completed = completed


@dataclass(slots=True, eq=False)
class SelectedField:
    """A field of a selection set."""

    key: str
    """Its name in the response."""
    details: FieldDetailsList
    nodes: list[FieldNode]
    definition: GraphQLField
    parent: GraphQLObjectType
    required: bool
    """Whether its type is non-null."""


@dataclass(slots=True, eq=False)
class Completion:
    """How the awaited values of a field, or of the items of its lists, are completed."""

    field: SelectedField
    complete: Complete
    required: bool

    @classmethod
    def of(cls, field: SelectedField, complete: Complete, required: bool) -> tuple[Completion, Completion]:
        """For values that ``complete`` completes, and for values that graphql-core has completed."""
        return cls(field, complete, required), cls(field, as_completed, required)


class AwaitedValue:
    """A position of the response whose value is awaited."""

    __slots__ = ("completion", "container", "future", "null_target", "path")
    future: Future

    def __init__(
        self, completion: Completion, container: Any, path: ResponsePath, null_target: NullTarget
    ) -> None:
        self.completion = completion
        self.container = container
        self.path = path
        self.null_target = null_target

    def complete(self, execution: Execution) -> None:
        """Complete the value, which is ready, unless an error has made a position above it null."""
        path, completion = self.path, self.completion
        assert path is not None
        if execution.errors and execution.is_nulled(path):
            mark_retrieved(self.future)
            return
        target = self.null_target if completion.required else (self.container, path[1], path)
        try:
            self.container[path[1]] = completion.complete(self.future.result(), path, execution, target)
        except CompletedByCore as by_core:
            self.completion = Completion(completion.field, as_completed, completion.required)
            execution.track(by_core.completed, self)
        except Exception as error:
            self._fail(error, path, execution)

    def _fail(
        self, error: Exception, path: tuple[ResponsePath, str | int, str | None], execution: Execution
    ) -> None:
        field, required = self.completion.field, self.completion.required
        if not (required and execution.propagates):
            self.container[path[1]] = execution.failed(error, field, path, required=False)
            return
        located = execution.located(error, field, path)
        if self.null_target is None:
            raise located
        container, key, target_path = self.null_target
        container[key] = None
        execution.executor.collected_errors.add(located, core_path(target_path))


class Execution:
    """One execution of an operation."""

    def __init__(self, executor: Executor[Any]) -> None:
        self.executor = executor
        self.context = executor.context_value
        self.propagates = executor.error_propagation
        self.is_awaitable = executor.is_awaitable
        self.errors = executor.collected_errors.errors
        self.arguments: dict[Any, dict[str, Any]] = {}
        """Coerced arguments that depend on variables: the same for every object of a field."""
        self._unscheduled: list[tuple[Awaitable[Any], AwaitedValue]] = []
        self._batches: dict[Batch, list[AwaitedValue]] = {}
        """Values that a loader loads, by their batch: it is awaited once for all of them."""
        self._ready: deque[AwaitedValue] = deque()
        self._tasks: list[asyncio.Future[Any]] = []
        self._scheduled_count = 0
        self._wakeup: asyncio.Future[None] | None = None
        self._abandoned = False

    @property
    def has_awaited_values(self) -> bool:
        """Whether the response is incomplete until ``complete_awaited_values`` has returned."""
        return bool(self._unscheduled or self._batches or self._ready)

    def track(self, awaitable: Awaitable[Any], value: AwaitedValue) -> None:
        """Complete ``value`` with the result of ``awaitable`` once that is ready."""
        if awaitable.__class__ is not Loaded:
            self._unscheduled.append((awaitable, value))
            return
        value.future = awaitable
        batch = awaitable.batch
        if batch.is_done:
            self._ready.append(value)
            return
        values = self._batches.get(batch)
        if values is None:
            values = self._batches[batch] = []
            batch.add_done_callback(self._on_batch_done)
        values.append(value)

    def _on_done(self, value: AwaitedValue, future: asyncio.Future[Any]) -> None:
        if self._abandoned:
            mark_retrieved(future)
            return
        self._scheduled_count -= 1
        self._ready.append(value)
        self._wake_up()

    def _on_batch_done(self, batch: Batch) -> None:
        if not self._abandoned:
            self._ready.extend(self._batches.pop(batch))
            self._wake_up()

    def _wake_up(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def complete_awaited_values(self) -> None:
        """Return when no value is awaited any more; raises an error that nulls the data as a whole.

        Values that are ready together are completed together, so the keys they ask the loaders for form one batch.
        """
        try:
            while self._unscheduled or self._scheduled_count or self._batches or self._ready:
                self._schedule()
                if not self._ready:
                    self._wakeup = asyncio.get_running_loop().create_future()
                    await self._wakeup
                while self._ready:
                    self._ready.popleft().complete(self)
        except BaseException:
            self.abandon()
            raise

    def _schedule(self) -> None:
        unscheduled, self._unscheduled = self._unscheduled, []
        for awaitable, value in unscheduled:
            value.future = future = self._future(awaitable)
            if future.done():
                self._ready.append(value)
            else:
                self._scheduled_count += 1
                future.add_done_callback(partial(self._on_done, value))

    def _future(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        if asyncio.isfuture(awaitable):
            return awaitable
        task = asyncio.ensure_future(awaitable)
        self._tasks.append(task)
        return task

    def abandon(self) -> None:
        """Cancel everything that still runs: the response no longer needs its values."""
        self._abandoned = True
        for awaitable, _ in self._unscheduled:
            discard(awaitable)
        for value in self._ready:
            mark_retrieved(value.future)
        for task in self._tasks:
            task.cancel()

    def failed(self, error: Exception, field: SelectedField, path: ResponsePath, *, required: bool) -> Any:
        """Null, for a position with an error that may be null; raises for one that may not."""
        located = self.located(error, field, path)
        if required and self.propagates:
            raise located
        self.executor.collected_errors.add(located, core_path(path))
        return None

    def located(self, error: Exception, field: SelectedField, path: ResponsePath) -> GraphQLError:
        """The error with its path and its locations in the document."""
        return located_error(error, field.nodes, path_keys(path))

    def is_nulled(self, path: ResponsePath) -> bool:
        """Whether an error has made this position or one above it null."""
        return self.executor.collected_errors.has_nulled_position(core_path(path))

    def resolve_info(self, field: SelectedField, path: ResponsePath) -> GraphQLResolveInfo[Any]:
        """graphql-core's info for a resolver."""
        converted = core_path(path)
        assert converted is not None
        return self.executor.build_resolve_info(field.definition, field.nodes, field.parent, converted)


def as_completed(value: Any, path: ResponsePath, execution: Execution, null_target: NullTarget) -> Any:
    """A ``Complete`` for values that graphql-core has completed."""
    return value


def field_path(path: ResponsePath) -> ResponsePath:
    """The path of the field that a value belongs to: ``path`` without the indexes at its end."""
    while path is not None and isinstance(path[1], int):
        path = path[0]
    return path


def discard(awaitable: Any) -> None:
    """Keep Python from warning about an awaitable that is never awaited."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
    elif asyncio.isfuture(awaitable):
        awaitable.add_done_callback(mark_retrieved)


def mark_retrieved(future: Future) -> None:
    """Keep asyncio from logging an exception that no longer matters."""
    if asyncio.isfuture(future) and not future.cancelled():
        future.exception()


def core_path(path: ResponsePath) -> Path | None:
    """``path`` as graphql-core's class."""
    return None if path is None else Path(core_path(path[0]), path[1], path[2])


def path_keys(path: ResponsePath) -> list[str | int]:
    """The keys and indexes of the path, outermost first."""
    keys: list[str | int] = []
    while path is not None:
        keys.append(path[1])
        path = path[0]
    return keys[::-1]
