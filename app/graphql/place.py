"""Where a subscription is in its stream: what lets another execution of it go on from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from app.graphql.info import Info


class Step(Protocol):
    """What the streams of the services consist of; each stream goes on after the ``cursor`` of any of its steps."""

    @property
    def cursor(self) -> Any: ...


S = TypeVar("S", bound=Step)


class Place:
    """Given to a subscription as its root value, it moves along with the stream.

    ``cursor`` is ``None`` as long as nothing was delivered and nobody said where to go on.
    """

    def __init__(self, cursor: Hashable | None = None) -> None:
        self.cursor = cursor


async def follow(
    info: Info, stream: Callable[[Any], AsyncGenerator[S, None]], start: Any
) -> AsyncGenerator[S, None]:
    """The stream from the place of the subscription on, or from ``start`` if it is nowhere yet."""
    place = info.root_value or Place()
    async with aclosing(stream(start if place.cursor is None else place.cursor)) as steps:
        async for step in steps:
            place.cursor = step.cursor
            yield step
