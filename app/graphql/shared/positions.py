"""Where a subscription is in its stream: what lets another execution of it go on from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from functools import wraps
from typing import Annotated, Any, Protocol, TypeVar, cast

import strawberry
from graphql import located_error


class Step(Protocol):
    """What the streams of the services consist of; each stream goes on after the ``cursor`` of any of its steps."""

    @property
    def cursor(self) -> Any: ...


S = TypeVar("S", bound=Step)


class Position:
    """Given to a subscription as its root value, it moves along with the stream.

    ``cursor`` is ``None`` as long as nothing was delivered and nobody said where to go on.
    """

    def __init__(self, cursor: Hashable | None = None) -> None:
        self.cursor = cursor


async def follow(
    position: Position | None, stream: Callable[[Any], AsyncGenerator[S, None]], start: Any
) -> AsyncGenerator[S, None]:
    """The stream from ``position`` on, or from ``start`` if nothing has been delivered yet."""
    position = position or Position()
    async with aclosing(stream(start if position.cursor is None else position.cursor)) as steps:
        async for step in steps:
            position.cursor = step.cursor
            yield step


BEGINNING_ARGUMENTS = frozenset({"after", "afterOffset", "attempt"})
"""Arguments which say where a stream begins, and nothing else about it."""


_Stream = TypeVar("_Stream", bound=Callable[..., AsyncGenerator[Any, None]])


After = Annotated[
    str | None,
    strawberry.argument(description="Cursor of the last batch received; from the beginning when left out."),
]


def located(resolver: _Stream) -> _Stream:
    """The same subscription; its errors name the field, which graphql-core leaves out once the stream has begun."""

    @wraps(resolver)
    async def resolve(info: strawberry.Info[Any, Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(resolver(info, **arguments)) as results:
                async for result in results:
                    yield result
        except Exception as error:
            raise located_error(error, info._raw_info.field_nodes, info.path.as_list()) from error

    return cast("_Stream", resolve)


RunId = Annotated[strawberry.ID, strawberry.argument(description="Id of the run.")]
