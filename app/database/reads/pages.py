"""Keyset pagination of a table, and of the children of many parents in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.database.reads.selections import CACHED_STATEMENTS, Selection, key_array
from app.database.tables import artifacts, stage_runs

Conditions = tuple[sa.ColumnElement[bool], ...]


@dataclass(frozen=True)
class Order:
    """The columns a page is sorted by; the last one is unique, so that a position is exact.

    ``is_numbered``: the columns before the last one hold whole numbers, not texts.
    """

    columns: tuple[str, ...]
    descending: bool
    is_numbered: bool = False


NEWEST_FIRST = Order(("id",), descending=True)
OLDEST_FIRST = Order(("id",), descending=False)
BY_NUMBER = Order(("seq",), descending=False)
BY_NAME = Order(("name", "id"), descending=False)
BY_NAME_REVERSED = Order(("name", "id"), descending=True)
HIGHEST_VERSION_FIRST = Order(("version", "id"), descending=True, is_numbered=True)
LATEST_MOVE_FIRST = Order(("seq", "id"), descending=True, is_numbered=True)

ARTIFACTS_OF_RUNS = artifacts.join(stage_runs, artifacts.c.stage_run_id == stage_runs.c.id)
"""Artifacts with the run that made them, in the column ``stage_runs.pipeline_run_id``."""

TWIN = artifacts.alias("twin")
ARTIFACTS_WITH_TWINS = artifacts.join(
    TWIN, sa.and_(TWIN.c.sha256 == artifacts.c.sha256, TWIN.c.id != artifacts.c.id)
)
"""Artifacts with each other artifact of the same content, in the column ``TWIN.c.id``."""


@dataclass(frozen=True)
class Window:
    """Up to ``limit`` rows after ``position``, or before it when ``backward``; ``None`` is the end of the list."""

    limit: int
    order: Order = NEWEST_FIRST
    position: tuple[Any, ...] | None = None
    backward: bool = False

    def apply(self, statement: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
        """Order and limit ``statement``, to one row more than ``limit``: it shows whether there is a next page."""
        columns = [table.c[name] for name in self.order.columns]
        descends = self.order.descending != self.backward
        if self.position is not None:
            row, position = sa.tuple_(*columns), sa.tuple_(*self.position, types=[c.type for c in columns])
            statement = statement.where(row < position if descends else row > position)
        return statement.order_by(*(c.desc() if descends else c.asc() for c in columns)).limit(self.limit + 1)


def page(selection: Selection, window: Window, conditions: Conditions = ()) -> sa.Select[Any]:
    """One page of a table."""
    return window.apply(sa.select(*selection.columns).where(*conditions), selection.table)


def count(table: sa.FromClause, conditions: Conditions = ()) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)


def page_per_parent(
    selection: Selection,
    parent: sa.Column[Any],
    window: Window,
    conditions: Conditions = (),
    source: sa.FromClause | None = None,
) -> sa.Select[Any]:
    """(key, row...) for one page of children per key. ``parent`` is the column of ``source`` to compare with the key.

    LATERAL reads ``limit`` rows per parent from the index; a window function would read all rows.
    """
    is_frequent = window.position is None and not conditions
    build = _cached_page_per_parent if is_frequent else _build_page_per_parent
    return build(selection, parent, window, conditions, source)


def _build_page_per_parent(
    selection: Selection,
    parent: sa.Column[Any],
    window: Window,
    conditions: Conditions,
    source: sa.FromClause | None,
) -> sa.Select[Any]:
    keys = sa.select(sa.func.unnest(key_array()).label("key")).subquery("parents")
    rows = sa.select(*selection.columns).select_from(source if source is not None else selection.table)
    children = (
        window.apply(rows.where(parent == keys.c.key, *conditions), selection.table)
        .correlate(keys)
        .lateral("children")
    )
    descends = window.order.descending != window.backward
    sort = [children.c[name] for name in window.order.columns]
    return (
        sa.select(keys.c.key, *(children.c[name] for name in selection.names))
        .select_from(keys.join(children, sa.true()))
        .order_by(keys.c.key, *(c.desc() if descends else c.asc() for c in sort))
    )


_cached_page_per_parent = lru_cache(CACHED_STATEMENTS)(_build_page_per_parent)


def count_per_parent(
    parent: sa.Column[Any], conditions: Conditions = (), source: sa.FromClause | None = None
) -> sa.Select[Any]:
    """(key, number of children)."""
    return (
        sa.select(parent, sa.func.count())
        .select_from(source if source is not None else parent.table)
        .where(parent == sa.any_(key_array()), *conditions)
        .group_by(parent)
    )
