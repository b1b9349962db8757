"""The position of a subscription in its stream, which lets another execution resume from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from functools import wraps
from typing import Annotated, Any, Protocol, TypeVar, cast

import strawberry
from graphql import located_error

RunId = Annotated[strawberry.ID, strawberry.argument(description="Global id of the run, or its bare UUID.")]
AfterBatch = Annotated[
    str | None,
    strawberry.argument(description="Cursor of the last batch received; from the beginning when left out."),
]
BEGINNING_ARGUMENTS = frozenset({"after", "afterOffset", "attempt"})
"""Arguments that say where a stream begins, and nothing else about it."""


class Item(Protocol):
    """An item of a stream of the services; the stream resumes after the ``cursor`` of any item."""

    @property
    def cursor(self) -> Any: ...


_Item = TypeVar("_Item", bound=Item)
_Stream = TypeVar("_Stream", bound=Callable[..., AsyncGenerator[Any, None]])


class Position:
    """The root value of a subscription; it moves along with the stream.

    ``cursor`` is ``None`` until an item is delivered, unless the subscription resumes an earlier one.
    """

    def __init__(self, cursor: Hashable | None = None) -> None:
        self.cursor = cursor


async def follow(
    position: Position | None, stream: Callable[[Any], AsyncGenerator[_Item, None]], start: Any
) -> AsyncGenerator[_Item, None]:
    """The stream after ``position``, or after ``start`` while that has no cursor."""
    position = position or Position()
    async with aclosing(stream(start if position.cursor is None else position.cursor)) as items:
        async for item in items:
            position.cursor = item.cursor
            yield item


def locating_errors(resolver: _Stream) -> _Stream:
    """The same subscription, with the path of the field in its errors; graphql-core omits it in a running stream."""

    @wraps(resolver)
    async def resolve(info: strawberry.Info[Any, Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(resolver(info, **arguments)) as results:
                async for result in results:
                    yield result
        except Exception as error:
            raise located_error(error, info._raw_info.field_nodes, info.path.as_list()) from error

    return cast("_Stream", resolve)
