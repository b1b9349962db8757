"""Keyset pages: of a whole table, and of the children of many parents in one statement."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.database.reads.selections import KEPT_STATEMENTS, Selection, key_array
from app.database.tables import (
    artifacts,
    datasets,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    stage_runs,
)
from app.domain.vocabulary import ArtifactStatus, ArtifactType, RunStatus, TriggerType

Conditions = tuple[sa.ColumnElement[bool], ...]


@dataclass(frozen=True)
class Order:
    """The columns a page is sorted by; the last one is unique, so that a position is exact."""

    columns: tuple[str, ...]
    descending: bool


NEWEST_FIRST = Order(("id",), descending=True)
OLDEST_FIRST = Order(("id",), descending=False)
BY_NUMBER = Order(("seq",), descending=False)
BY_NAME = Order(("name", "id"), descending=False)
BY_NAME_REVERSED = Order(("name", "id"), descending=True)

ARTIFACTS_OF_RUNS = artifacts.join(stage_runs, artifacts.c.stage_run_id == stage_runs.c.id)
"""Artifacts with the run that made them, in the column ``stage_runs.pipeline_run_id``."""


@dataclass(frozen=True)
class Window:
    """Up to ``limit`` rows after ``position``, or before it when ``backward``; ``None`` is the end of the list."""

    limit: int
    order: Order = NEWEST_FIRST
    position: tuple[Any, ...] | None = None
    backward: bool = False

    def apply(self, statement: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
        """Sort and cut ``statement``; one row more than ``limit`` tells whether there is more."""
        columns = [table.c[name] for name in self.order.columns]
        falling = self.order.descending != self.backward
        if self.position is not None:
            here, there = sa.tuple_(*columns), sa.tuple_(*self.position, types=[c.type for c in columns])
            statement = statement.where(here < there if falling else here > there)
        return statement.order_by(*(c.desc() if falling else c.asc() for c in columns)).limit(self.limit + 1)


def page(selection: Selection, window: Window, conditions: Conditions = ()) -> sa.Select[Any]:
    """One page of a table."""
    return window.apply(sa.select(*selection.columns).where(*conditions), selection.table)


def count(table: sa.Table, conditions: Conditions = ()) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)


def page_per_parent(
    selection: Selection,
    parent: sa.Column[Any],
    window: Window,
    conditions: Conditions = (),
    source: sa.FromClause | None = None,
) -> sa.Select[Any]:
    """(key, row...) for one page of children per key. ``parent`` is the column of ``source`` to compare with the key.

    LATERAL reads only ``limit`` rows per parent from the index, where a window function would read them all.
    """
    is_frequent = window.position is None and not conditions
    make = kept_page_per_parent if is_frequent else made_page_per_parent
    return make(selection, parent, window, conditions, source)


def made_page_per_parent(
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
    falling = window.order.descending != window.backward
    sort = [children.c[name] for name in window.order.columns]
    return (
        sa.select(keys.c.key, *(children.c[name] for name in selection.names))
        .select_from(keys.join(children, sa.true()))
        .order_by(keys.c.key, *(c.desc() if falling else c.asc() for c in sort))
    )


kept_page_per_parent = lru_cache(KEPT_STATEMENTS)(made_page_per_parent)


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


def run_conditions(
    *,
    status: Sequence[RunStatus] | None = None,
    pipeline_id: uuid.UUID | None = None,
    tags: Sequence[str] | None = None,
    environment: str | None = None,
    trigger_type: TriggerType | None = None,
    created_after: dt.datetime | None = None,
    created_before: dt.datetime | None = None,
) -> Conditions:
    """Runs which match everything that is given; ``tags`` must all be present."""
    t = pipeline_runs.c
    return chosen(
        status is not None and t.status.in_(status),
        pipeline_id is not None and t.pipeline_id == pipeline_id,
        tags is not None and t.tags.contains(list(tags)),
        environment is not None and t.environment == environment,
        trigger_type is not None and t.trigger_type == trigger_type,
        created_after is not None and t.created_at > created_after,
        created_before is not None and t.created_at < created_before,
    )


def pipeline_conditions(*, name: str | None = None, status: Sequence[RunStatus] | None = None) -> Conditions:
    """Pipelines whose name contains ``name``, whatever its case."""
    t = pipelines.c
    return chosen(
        name is not None and t.name.icontains(name, autoescape=True),
        status is not None and t.status.in_(status),
    )


def artifact_conditions(
    *,
    artifact_type: Sequence[ArtifactType] | None = None,
    status: Sequence[ArtifactStatus] | None = None,
    name: str | None = None,
    run_id: uuid.UUID | None = None,
    stage_run_id: uuid.UUID | None = None,
    pipeline_id: uuid.UUID | None = None,
) -> Conditions:
    """Artifacts whose name contains ``name`` and which were made by the given run, stage run or pipeline."""
    t = artifacts.c
    of_run = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == run_id)
    of_pipeline = sa.select(pipeline_stages.c.id).where(pipeline_stages.c.pipeline_id == pipeline_id)
    return chosen(
        artifact_type is not None and t.artifact_type.in_(artifact_type),
        status is not None and t.status.in_(status),
        name is not None and t.name.icontains(name, autoescape=True),
        run_id is not None and t.stage_run_id.in_(of_run),
        stage_run_id is not None and t.stage_run_id == stage_run_id,
        pipeline_id is not None and t.stage_id.in_(of_pipeline),
    )


def dataset_conditions(
    *,
    file_format: str | None = None,
    name: str | None = None,
    run_id: uuid.UUID | None = None,
    pipeline_id: uuid.UUID | None = None,
) -> Conditions:
    """Datasets of this format, whatever its case, whose artifact matches the rest."""
    t = datasets.c
    return chosen(
        file_format is not None and sa.func.lower(t.format) == (file_format or "").lower(),
        _held_by(t.artifact_id, artifact_conditions(name=name, run_id=run_id, pipeline_id=pipeline_id)),
    )


def model_conditions(
    *,
    algorithm: str | None = None,
    framework: str | None = None,
    name: str | None = None,
    run_id: uuid.UUID | None = None,
    pipeline_id: uuid.UUID | None = None,
) -> Conditions:
    """Models whose algorithm and framework contain these texts, whatever their case, and whose artifact matches."""
    t = models.c
    return chosen(
        algorithm is not None and t.algorithm.icontains(algorithm, autoescape=True),
        framework is not None and t.framework.icontains(framework, autoescape=True),
        _held_by(t.artifact_id, artifact_conditions(name=name, run_id=run_id, pipeline_id=pipeline_id)),
    )


def _held_by(artifact_id: sa.Column[uuid.UUID], of_artifact: Conditions) -> sa.ColumnElement[bool] | bool:
    return bool(of_artifact) and artifact_id.in_(sa.select(artifacts.c.id).where(*of_artifact))


def chosen(*conditions: sa.ColumnElement[bool] | bool) -> Conditions:
    return tuple(condition for condition in conditions if not isinstance(condition, bool))
