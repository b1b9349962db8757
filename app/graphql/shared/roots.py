"""Root fields of the nouns: one node by its id, and pages of all nodes of a type."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import NEWEST_FIRST, Conditions, Window, count, page
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
from app.graphql.shared.filters import Filter, conditions_of
from app.graphql.shared.ids import key_of
from app.graphql.shared.info import Info
from app.graphql.shared.loading import NodeLoader
from app.graphql.shared.orders import sort_of
from app.graphql.shared.rows import instances

NodeId = Annotated[
    strawberry.ID, strawberry.argument(name="id", description="Global id of the node, or its bare UUID.")
]


def root_list(
    cls: type[T], selection: Selection, description: str, *, where: Any = None, order_by: Any = None
) -> Any:
    """A root field with pages of all nodes of a type, newest first unless the client may choose an order.

    ``where`` and ``order_by`` are the annotated arguments ``filter`` and ``orderBy``, for lists that have them.
    """

    async def resolve(
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: Filter = NOT_GIVEN,
        order_by: enum.StrEnum = NOT_GIVEN,
    ) -> Connection[T]:
        order = NEWEST_FIRST if order_by is NOT_GIVEN else sort_of(order_by)
        window = window_of(first, after, last, before, order=order)
        return await root_page(info.context, cls, selection, window, conditions_of(where))

    offer(resolve, where=where, order_by=order_by)
    return strawberry.field(resolver=resolve, description=description, metadata=reads_only())


def offer(resolve: Callable[..., Any], **annotations: Any) -> None:
    """Give these arguments of a resolver their annotations, and hide those whose annotation is ``None``.

    An enum of orders has its own first member as the default.
    """
    signature = inspect.signature(resolve)
    parameters = dict(signature.parameters)
    for name, annotation in annotations.items():
        parameter = parameters.pop(name)
        if annotation is not None:
            chosen = get_args(annotation)[0]
            default = next(iter(chosen)) if isinstance(chosen, enum.EnumType) else parameter.default
            parameters[name] = parameter.replace(annotation=annotation, default=default)
    resolve.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]


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
