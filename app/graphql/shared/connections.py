"""Connections: pages of nodes with opaque cursors, and the arguments that ask for them."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import NEWEST_FIRST, Order, Window
from app.domain.text import is_storable
from app.errors import DomainError

MAX_PAGE = 200
DEFAULT_PAGE = 50
NESTED_PAGE = 10
_CURSOR_VERSION = 1
_CACHED_WINDOWS = 512
_LONGEST_SEQUENCE = 18
_LONGEST_NUMBER = 9

T = TypeVar("T")
NOT_GIVEN: Any = strawberry.UNSET
"""Default of optional arguments and input fields; unlike ``None`` it leaves no ``= null`` in the schema."""

First = Annotated[
    int | None, strawberry.argument(description=f"Return this many nodes from the start; at most {MAX_PAGE}.")
]
FirstOfRoot = Annotated[
    int | None,
    strawberry.argument(
        description=f"Return this many nodes from the start; at most {MAX_PAGE}. Without `first` and `last` it "
        f"is {DEFAULT_PAGE}."
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Only nodes after this cursor; give it with `first`.")
]
Last = Annotated[
    int | None, strawberry.argument(description=f"Return this many nodes from the end; at most {MAX_PAGE}.")
]
Before = Annotated[
    str | None, strawberry.argument(description="Only nodes before this cursor; give it with `last`.")
]


@strawberry.type(description="The position of a page in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="True if the list goes on after this page.")
    has_previous_page: bool = strawberry.field(description="True if the list has nodes before this page.")
    start_cursor: str | None = strawberry.field(
        description="Cursor of the first node of the page; null if the page is empty."
    )
    end_cursor: str | None = strawberry.field(
        description="Cursor of the last node of the page; null if the page is empty."
    )


@strawberry.type(description="A node and its position in the list.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(
        description="Position of the node, for `after` and `before`; valid for lists in the same order."
    )
    node: T = strawberry.field(description="The node.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[T]):
    nodes: list[T] = strawberry.field(description="The nodes of the page.")
    window: strawberry.Private[Window]
    has_more: strawberry.Private[bool]
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(description="The nodes of the page, each with its cursor.", metadata=reads_only())
    def edges(self) -> list[Edge[T]]:
        return [Edge(cursor=encode_cursor(self.window.order, node), node=node) for node in self.nodes]

    @strawberry.field(description="The position of the page in its list.", metadata=reads_only())
    def page_info(self) -> PageInfo:
        order, inside = self.window.order, self.window.position is not None
        return PageInfo(
            has_next_page=inside if self.window.backward else self.has_more,
            has_previous_page=self.has_more if self.window.backward else inside,
            start_cursor=encode_cursor(order, self.nodes[0]) if self.nodes else None,
            end_cursor=encode_cursor(order, self.nodes[-1]) if self.nodes else None,
        )

    @strawberry.field(
        description="Number of nodes in the whole list, on all pages; costs one more SQL statement.",
        metadata=reads_only(),
    )
    async def total_count(self) -> int:
        return await self.count()


def given(value: T | None) -> T | None:
    """The value of an argument; ``None`` if it was left out."""
    return None if value is NOT_GIVEN else value


def connection(rows: Sequence[T], window: Window, count: Callable[[], Awaitable[int]]) -> Connection[T]:
    """Makes a page of the rows found for ``window``: up to ``limit``, and one more if the list goes on."""
    nodes = list(rows[: window.limit])
    if window.backward:
        nodes.reverse()
    return Connection(nodes=nodes, window=window, has_more=len(rows) > window.limit, count=count)


@lru_cache(_CACHED_WINDOWS)
def window_of(
    first: int | None,
    after: str | None = NOT_GIVEN,
    last: int | None = NOT_GIVEN,
    before: str | None = NOT_GIVEN,
    *,
    order: Order = NEWEST_FIRST,
    default: int = DEFAULT_PAGE,
) -> Window:
    """The window of these arguments; raises ``DomainError`` (BAD_INPUT) with the path of a wrong one."""
    first, after, last, before = given(first), given(after), given(last), given(before)
    if first is not None and last is not None:
        raise DomainError("Ask for the first or for the last nodes, not for both.", path=["last"])
    if after is not None and before is not None:
        raise DomainError("Give one cursor, after or before.", path=["before"])
    backward = last is not None or (before is not None and first is None)
    if (before is not None and not backward) or (after is not None and backward):
        raise DomainError(
            "Use after with first, and before with last.", path=["before" if before else "after"]
        )
    name, size = ("last", last) if backward else ("first", first)
    cursor_name, cursor = ("before", before) if backward else ("after", after)
    return Window(
        limit=page_size(default if size is None else size, name),
        order=order,
        position=None if cursor is None else decode_cursor(order, cursor, cursor_name),
        backward=backward,
    )


def page_size(size: int, name: str) -> int:
    if not 0 <= size <= MAX_PAGE:
        raise DomainError(f"{name} must be from 0 to {MAX_PAGE}, not {size}.", path=[name])
    return size


def encode_cursor(order: Order, node: Any) -> str:
    """Opaque text for the position of ``node``; it holds a version and the order of the list."""
    position = [str(getattr(node, name)) for name in order.columns]
    payload = json.dumps([_CURSOR_VERSION, signature(order), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(payload.encode()).decode("ascii")


def decode_cursor(order: Order, cursor: str, argument: str) -> tuple[Any, ...]:
    """The position a cursor stands for; raises ``DomainError`` for one of another order or version."""
    try:
        version, made_for, *position = json.loads(base64.b64decode(cursor, altchars="-_", validate=True))
        if version != _CURSOR_VERSION or made_for != signature(order):
            raise DomainError("This cursor was made for a list in another order.", path=[argument])
        *leading, key = position
        if len(position) != len(order.columns) or not all(is_text(part) for part in leading):
            raise ValueError(position)
        if order.is_numbered:
            leading = [number_of(part) for part in leading]
        return (*leading, uuid.UUID(key))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
        raise DomainError("This is not a cursor of this list.", path=[argument]) from None


def sequence_of(cursor: str | None, argument: str = "after") -> int:
    """The number in a cursor of a run's numbered rows (events, samples); 0 without a cursor."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _LONGEST_SEQUENCE):
        raise DomainError("This is not a cursor of this list.", path=[argument])
    return int(cursor)


def number_of(text: str) -> int:
    """A number that fits into a column of whole numbers; raises ``ValueError`` for any other text."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise ValueError(text)
    return int(text)


def is_text(part: object) -> bool:
    return isinstance(part, str) and is_storable(part)


def signature(order: Order) -> str:
    return f"{'-' if order.descending else '+'}{','.join(order.columns)}"
