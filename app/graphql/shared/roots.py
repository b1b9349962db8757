"""What the roots of all reads have in common: one node by its id, and pages of a whole table."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import Conditions, Window, count, page
from app.database.reads.selections import Selection
from app.graphql.shared.connections import (
    NOT_GIVEN,
    After,
    Before,
    Connection,
    FirstOfRoot,
    Last,
    T,
    connection,
    window_of,
)
from app.graphql.shared.context import OperationContext
from app.graphql.shared.ids import key_of
from app.graphql.shared.info import Info
from app.graphql.shared.loading import NodeLoader
from app.graphql.shared.rows import instances

NodeId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id, or the bare UUID.")]


def newest_first(cls: type[T], selection: Selection, description: str) -> Any:
    """A root field with all nodes of a type, without filter or order to choose."""

    async def resolve(
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
    ) -> Connection[T]:
        return await root_page(info.context, cls, selection, window_of(first, after, last, before))

    return strawberry.field(resolver=resolve, description=description, metadata=reads_only())


class Filter(Protocol):
    """The input of a list which can be narrowed."""

    def conditions(self) -> Conditions: ...


def conditions_of(where: Filter | None) -> Conditions:
    return () if where is None or where is NOT_GIVEN else where.conditions()


async def root_page(
    context: OperationContext, cls: type[T], selection: Selection, window: Window, conditions: Conditions = ()
) -> Connection[T]:
    wanted = context.reader.narrowed(cls, selection).with_columns(window.order.columns)
    rows = await context.reader.rows(page(wanted, window, conditions))
    return connection(
        instances(cls, wanted, rows),
        window,
        lambda: context.reader.number(count(selection.table, conditions)),
    )


async def node_or_none(loader: NodeLoader[T], node_id: str, type_name: str) -> T | None:
    key = key_of(node_id, type_name)
    return None if key is None else await loader.load(key)
