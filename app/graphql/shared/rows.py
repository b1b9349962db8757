"""Reads rows and turns them into the plain objects that GraphQL answers with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from graphql import GraphQLError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.compiled_graphql.reading import Attributes
from app.database.outages import is_timeout
from app.database.reads.selections import Selection

T = TypeVar("T")
Rows = Sequence[Any]
"""Rows whose columns only the caller knows; each behaves like a tuple."""

_NARROWED_SELECTIONS = 512

_ATTRIBUTES = {"dependencies": "dependency_names"}


class Reader:
    """Runs the reads of one operation and counts them.

    ``slots`` is shared by all operations and smaller than the connection pool: siblings of a wide query are read at
    the same time, and must not take every connection from the rest of the server.
    """

    def __init__(self, engine: AsyncEngine, slots: asyncio.Semaphore) -> None:
        self._engine = engine
        self._slots = slots
        self.statements = 0
        self.attributes: Attributes | None = None
        """The attributes of each class that the operation reads; ``None`` if it may read all of them."""

    def narrowed(self, cls: type, selection: Selection) -> Selection:
        """The columns of ``selection`` that the operation reads of the rows that become a ``cls``."""
        if self.attributes is None:
            return selection
        return narrowed(selection, self.attributes.get(cls, frozenset()))

    async def rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        async with self._slots, self._engine.connect() as connection:
            self.statements += 1
            try:
                result = await connection.execute(statement, parameters)
            except DBAPIError as error:
                if is_timeout(error):
                    raise too_slow() from None
                raise
            rows: Rows = result.all()
            return rows

    async def pairs(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
    ) -> dict[Any, Any]:
        """A mapping from the first to the second of two columns."""
        return dict(await self.rows(statement, parameters))

    async def number(self, statement: sa.Select[Any]) -> int:
        rows = await self.rows(statement)
        return int(rows[0][0])


def too_slow() -> GraphQLError:
    message = "The database took too long to read this; ask for less, or try again."
    return GraphQLError(message, extensions={"code": "TIMEOUT"})


@lru_cache(_NARROWED_SELECTIONS)
def narrowed(selection: Selection, attributes: frozenset[str]) -> Selection:
    """The columns of ``selection`` for these attributes, and its keys."""
    wanted = (name for name in selection.names if attribute_of(name) in attributes)
    return selection.narrowed(frozenset(wanted))


def instances(cls: type[T], selection: Selection, rows: Rows, *, skip: int = 0) -> list[T]:
    """Makes one ``cls`` of each row; the columns of ``selection`` begin at index ``skip``.

    It does not call ``__init__``, because that takes longer than reading the row. A column ``<thing>_id`` becomes the
    attribute ``<thing>_key``: the field ``<thing>Id`` of the graph is the global id.
    """
    names = [attribute_of(name) for name in selection.names]
    made = []
    for row in rows:
        instance = object.__new__(cls)
        instance.__dict__ = dict(zip(names, row[skip:] if skip else row, strict=True))
        made.append(instance)
    return made


def attribute_of(column: str) -> str:
    if column.endswith("_id") and column != "host_id":
        return f"{column.removesuffix('_id')}_key"
    return _ATTRIBUTES.get(column, column)
