"""Makes loaders. A loader is named ``<thing>_by_<key>`` and loads the things of many keys with one statement.

Loaders live as long as one operation, or one event of a subscription, so nothing they cache becomes stale.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from app.compiled_graphql.batching import DataLoader, Loaded
from app.database.reads.pages import Conditions, Window, count_per_parent, page_per_parent
from app.database.reads.selections import KEYS, Selection, rows_by
from app.errors import NotFound
from app.graphql.shared.connections import Connection, connection
from app.graphql.shared.rows import Reader, attribute_of, instances

T = TypeVar("T")
V = TypeVar("V")
Row = sa.Row[Any]


class NodeLoader(DataLoader[uuid.UUID, V | None]):
    """Loads single nodes; ``load`` returns ``None`` for one that does not exist."""

    def require(self, key: uuid.UUID) -> Loaded[V]:
        """A node that another row refers to; raises ``NotFound`` if it was deleted since that row was read."""
        required: Loaded[Any] = self.load(key).required(_deleted)
        return required


def _deleted() -> NotFound:
    return NotFound("This was deleted while the query ran.")


ListLoader = DataLoader[uuid.UUID, list[T]]
PageLoader = DataLoader[uuid.UUID, Connection[T]]


class LoaderFactory:
    """Makes the loaders of one operation, each when it is first used."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._with_arguments: dict[Hashable, Any] = {}

    def stop(self) -> None:
        """Stop all reads and forget everything loaded; called when the operation ends."""
        for loader in (*vars(self).values(), *self._with_arguments.values()):
            if isinstance(loader, DataLoader):
                loader.stop()

    def _node(
        self,
        cls: type[T],
        selection: Selection,
        column: str,
        statement: Callable[[Selection], sa.Select[Any]] | None = None,
    ) -> NodeLoader[T]:
        """``statement`` selects at most one row per key in ``column``; it may be left out if ``column`` is unique."""
        attribute, wanted = attribute_of(column), self._reader.narrowed(cls, selection)
        chosen = rows_by(wanted, column) if statement is None else statement(wanted)

        async def load(keys: list[uuid.UUID]) -> list[T | None]:
            rows = await self._reader.rows(chosen, {KEYS: keys})
            found = {getattr(node, attribute): node for node in instances(cls, wanted, rows)}
            return [found.get(key) for key in keys]

        return NodeLoader(load)

    def _children(self, cls: type[T], selection: Selection, parent: str, *order: str) -> ListLoader[T]:
        """All children of each key in the column ``parent``, in this order."""
        wanted = self._reader.narrowed(cls, selection)
        return self._list(cls, wanted, rows_by(wanted, parent, *order), attribute_of(parent))

    def _list(
        self,
        cls: type[T],
        selection: Selection,
        statement: sa.Select[Any],
        parent: str,
        more: Mapping[str, Any] | None = None,
    ) -> ListLoader[T]:
        async def load(keys: list[uuid.UUID]) -> list[list[T]]:
            children: dict[uuid.UUID, list[T]] = defaultdict(list)
            rows = await self._reader.rows(statement, {KEYS: keys, **(more or {})})
            for child in instances(cls, selection, rows):
                children[getattr(child, parent)].append(child)
            return [children[key] for key in keys]

        return DataLoader(load)

    def _value(self, statement: sa.Select[Any], missing: T) -> DataLoader[uuid.UUID, T]:
        """Loads from rows of (key, value); ``missing`` is the value of a key without a row."""

        async def load(keys: list[uuid.UUID]) -> list[T]:
            found = await self._reader.pairs(statement, {KEYS: keys})
            return [found.get(key, missing) for key in keys]

        return DataLoader(load)

    def _mapping(
        self, statement: sa.Select[Any], make: Callable[..., T]
    ) -> DataLoader[uuid.UUID, dict[Any, T]]:
        """Loads rows of (key, name, ...) as one mapping per key: from the names to what ``make`` makes of the rest."""

        async def load(keys: list[uuid.UUID]) -> list[dict[Any, T]]:
            found: dict[uuid.UUID, dict[Any, T]] = defaultdict(dict)
            for key, name, *rest in await self._reader.rows(statement, {KEYS: keys}):
                found[key][name] = make(*rest)
            return [found[key] for key in keys]

        return DataLoader(load)

    def _page(
        self,
        cls: type[T],
        selection: Selection,
        parent: sa.Column[Any],
        window: Window,
        name: Hashable,
        conditions: Conditions = (),
        source: sa.FromClause | None = None,
    ) -> PageLoader[T]:
        """Loads one page of children per key; loaders with the same ``name`` are one loader."""
        made: PageLoader[T] | None = self._with_arguments.get(name)
        if made is not None:
            return made
        count = self._with(
            ("count", name), lambda: self._value(count_per_parent(parent, conditions, source), 0)
        )

        wanted = self._reader.narrowed(cls, selection).with_columns(window.order.columns)
        statement = page_per_parent(wanted, parent, window, conditions, source)

        async def load(keys: list[uuid.UUID]) -> list[Connection[T]]:
            rows = await self._reader.rows(statement, {KEYS: keys})
            children: dict[uuid.UUID, list[T]] = defaultdict(list)
            for (key, *_), child in zip(rows, instances(cls, wanted, rows, skip=1), strict=True):
                children[key].append(child)
            return [connection(children[key], window, partial(count.load, key)) for key in keys]

        return self._with(name, lambda: DataLoader(load))

    def _with(self, name: Hashable, make: Callable[[], T]) -> T:
        """The loader with this name: fields with equal arguments share it, and so its statement."""
        made: T | None = self._with_arguments.get(name)
        if made is None:
            made = self._with_arguments[name] = make()
        return made
