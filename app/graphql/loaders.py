"""Dataloaders, named ``<thing>_by_<key>``: many keys, one statement, plain columns straight into GraphQL types.

They live as long as one operation (or one event of a subscription), so that nothing they cache grows stale.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar

import sqlalchemy as sa
from strawberry.scalars import JSON

from app.database import queries
from app.database.models import (
    artifacts,
    models,
    pipeline_runs,
    run_events,
    schedules,
    stage_runs,
    webhooks,
)
from app.database.pages import ARTIFACTS_OF_RUNS, Conditions, Window, count_per_parent, page_per_parent
from app.database.queries import KEYS, Selection, rows_by
from app.domain.explanations import Capacity, QueuePlace
from app.domain.statuses import StageStatus
from app.graphql.batching import DataLoader, NodeLoader
from app.graphql.inputs import RunFilter
from app.graphql.pages import Connection, connection
from app.graphql.rows import Reader, attribute_of, instances
from app.graphql.types.artifact import Artifact, Dataset, Model
from app.graphql.types.attempt import MetricPoint, ResourceSample, StageAttempt
from app.graphql.types.pipeline import Pipeline, Stage
from app.graphql.types.run import Run
from app.graphql.types.schedule import Schedule
from app.graphql.types.stage_run import StageRun
from app.graphql.types.system import Worker
from app.graphql.types.webhook import Webhook
from app.storage.base import StoredBlob

T = TypeVar("T")
PageLoader = DataLoader[uuid.UUID, Connection[T]]
ListLoader = DataLoader[uuid.UUID, list[T]]
Row = sa.Row[Any]


class Loaders:
    """All dataloaders of one operation, each made when first used."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._with_arguments: dict[Hashable, Any] = {}

    def stop(self) -> None:
        """End what they still read and forget what they loaded: the operation is over."""
        for loader in (*vars(self).values(), *self._with_arguments.values()):
            if isinstance(loader, DataLoader):
                loader.stop()

    @cached_property
    def pipeline_by_id(self) -> NodeLoader[Pipeline]:
        return self._node(Pipeline, queries.PIPELINES, "id")

    @cached_property
    def stage_by_id(self) -> NodeLoader[Stage]:
        return self._node(Stage, queries.STAGES, "id")

    @cached_property
    def run_by_id(self) -> NodeLoader[Run]:
        return self._node(Run, queries.RUNS, "id")

    @cached_property
    def stage_run_by_id(self) -> NodeLoader[StageRun]:
        return self._node(StageRun, queries.STAGE_RUNS, "id")

    @cached_property
    def artifact_by_id(self) -> NodeLoader[Artifact]:
        return self._node(Artifact, queries.ARTIFACTS, "id")

    @cached_property
    def dataset_by_id(self) -> NodeLoader[Dataset]:
        return self._node(Dataset, queries.DATASETS, "id")

    @cached_property
    def model_by_id(self) -> NodeLoader[Model]:
        return self._node(Model, queries.MODELS, "id")

    @cached_property
    def worker_by_id(self) -> NodeLoader[Worker]:
        return self._node(Worker, queries.WORKERS, "id")

    @cached_property
    def schedule_by_id(self) -> NodeLoader[Schedule]:
        return self._node(Schedule, queries.SCHEDULES, "id")

    @cached_property
    def webhook_by_id(self) -> NodeLoader[Webhook]:
        return self._node(Webhook, queries.WEBHOOKS, "id")

    @cached_property
    def dataset_by_artifact(self) -> NodeLoader[Dataset]:
        return self._node(Dataset, queries.DATASETS, "artifact_id")

    @cached_property
    def model_by_artifact(self) -> NodeLoader[Model]:
        return self._node(Model, queries.MODELS, "artifact_id")

    @cached_property
    def latest_run_by_pipeline(self) -> NodeLoader[Run]:
        return self._node(Run, queries.RUNS, "pipeline_id", queries.latest_runs)

    @cached_property
    def stages_by_pipeline(self) -> ListLoader[Stage]:
        """Removed stages too."""
        return self._children(Stage, queries.STAGES, "pipeline_id", "order", "id")

    @cached_property
    def stage_runs_by_run(self) -> ListLoader[StageRun]:
        return self._children(StageRun, queries.STAGE_RUNS, "pipeline_run_id", "position", "id")

    @cached_property
    def retries_by_run(self) -> ListLoader[Run]:
        return self._children(Run, queries.RUNS, "retry_of_id", "id")

    @cached_property
    def attempts_by_stage_run(self) -> ListLoader[StageAttempt]:
        return self._children(StageAttempt, queries.ATTEMPTS, "stage_run_id", "attempt")

    @cached_property
    def log_tails_by_stage_run(self) -> DataLoader[uuid.UUID, dict[int, str]]:
        """The last lines of its attempts' logs by the attempts' numbers."""
        return self._mapping(queries.log_tails(), str)

    @cached_property
    def stored_logs_by_stage_run(self) -> DataLoader[uuid.UUID, dict[int, StoredBlob]]:
        """The logs of its attempts which are in the store, by the attempts' numbers."""
        return self._mapping(queries.stored_logs(), StoredBlob)

    @cached_property
    def datasets_by_stage_run(self) -> DataLoader[uuid.UUID, dict[str, Dataset]]:
        """Its data sets by their paths in the output folder."""

        async def load(keys: list[uuid.UUID]) -> list[dict[str, Dataset]]:
            rows = await self._reader.rows(queries.datasets_by_stage_run(), {KEYS: keys})
            found: dict[uuid.UUID, dict[str, Dataset]] = defaultdict(dict)
            for (key, path, *_), dataset in zip(
                rows, instances(Dataset, queries.DATASETS, rows, skip=2), strict=True
            ):
                found[key][path] = dataset
            return [found[key] for key in keys]

        return DataLoader(load)

    @cached_property
    def stage_run_counts_by_run(self) -> DataLoader[uuid.UUID, dict[StageStatus, int]]:
        return self._mapping(queries.stage_run_counts(), int)

    @cached_property
    def definition_by_run(self) -> DataLoader[uuid.UUID, JSON | None]:
        return self._value(queries.run_definitions(), None)

    @cached_property
    def spec_by_stage_run(self) -> DataLoader[uuid.UUID, JSON | None]:
        return self._value(queries.stage_run_specs(), None)

    @cached_property
    def stage_limit_by_run(self) -> DataLoader[uuid.UUID, int | None]:
        return self._value(queries.stage_limits(), None)

    @cached_property
    def capacity(self) -> DataLoader[None, Capacity]:
        """The same for everybody who asks, so its only key is ``None``."""

        async def load(keys: list[None]) -> list[Capacity]:
            [row] = await self._reader.rows(queries.capacity())
            return [Capacity(*row) for _ in keys]

        return DataLoader(load)

    @cached_property
    def queue_place_by_run(self) -> DataLoader[uuid.UUID, QueuePlace]:
        async def load(keys: list[uuid.UUID]) -> list[QueuePlace]:
            rows = await self._reader.rows(queries.queue_places(), {KEYS: keys})
            found = {key: QueuePlace(*place) for key, *place in rows}
            return [found.get(key, QueuePlace(0, 0, None, False)) for key in keys]

        return DataLoader(load)

    def samples_by_stage_run(self, max_points: int) -> ListLoader[ResourceSample]:
        return self._with(
            ("samples", max_points),
            lambda: self._list(
                ResourceSample, queries.SAMPLES, queries.sample_peaks(max_points), "stage_run_key"
            ),
        )

    def metric_points_by_stage_run(self, name: str | None, max_points: int) -> ListLoader[MetricPoint]:
        statement = queries.metric_series(max_points, one_name=name is not None)
        more = {} if name is None else {"name": name}
        return self._with(
            ("metric points", name, max_points),
            lambda: self._list(MetricPoint, queries.METRIC_POINTS, statement, "stage_run_key", more),
        )

    def runs_by_pipeline(self, window: Window, where: RunFilter | None) -> PageLoader[Run]:
        conditions = where.conditions() if where else ()
        name = ("runs", window, repr(where))
        return self._page(Run, queries.RUNS, pipeline_runs.c.pipeline_id, window, name, conditions)

    def events_by_run(self, window: Window) -> ListLoader[Row]:
        """Rows of ``run_events`` in order of ``seq``, one more than the window's limit if there are more."""

        async def load(keys: list[uuid.UUID]) -> list[list[Row]]:
            statement = page_per_parent(queries.EVENTS, run_events.c.run_id, window)
            events: dict[uuid.UUID, list[Row]] = defaultdict(list)
            for row in await self._reader.rows(statement, {KEYS: keys}):
                events[row.key].append(row)
            return [events[key] for key in keys]

        return self._with(("events", window), lambda: DataLoader(load))

    def schedules_by_pipeline(self, window: Window) -> PageLoader[Schedule]:
        name = ("schedules", window)
        return self._page(Schedule, queries.SCHEDULES, schedules.c.pipeline_id, window, name)

    def webhooks_by_pipeline(self, window: Window) -> PageLoader[Webhook]:
        name = ("webhooks", window)
        return self._page(Webhook, queries.WEBHOOKS, webhooks.c.pipeline_id, window, name)

    def stage_runs_by_stage(self, window: Window) -> PageLoader[StageRun]:
        return self._page(StageRun, queries.STAGE_RUNS, stage_runs.c.stage_id, window, ("stage runs", window))

    def artifacts_by_stage_run(self, window: Window) -> PageLoader[Artifact]:
        name = ("artifacts of stage runs", window)
        return self._page(Artifact, queries.ARTIFACTS, artifacts.c.stage_run_id, window, name)

    def artifacts_by_stage(self, window: Window) -> PageLoader[Artifact]:
        name = ("artifacts of stages", window)
        return self._page(Artifact, queries.ARTIFACTS, artifacts.c.stage_id, window, name)

    def artifacts_by_run(self, window: Window) -> PageLoader[Artifact]:
        return self._page(
            Artifact,
            queries.ARTIFACTS,
            stage_runs.c.pipeline_run_id,
            window,
            ("artifacts of runs", window),
            source=ARTIFACTS_OF_RUNS,
        )

    def models_by_dataset(self, window: Window) -> PageLoader[Model]:
        return self._page(Model, queries.MODELS, models.c.training_dataset_id, window, ("models", window))

    def _node(
        self,
        cls: type[T],
        selection: Selection,
        column: str,
        statement: Callable[[Selection], sa.Select[Any]] | None = None,
    ) -> NodeLoader[T]:
        """``statement`` finds at most one node for each key in ``column``; it can be left out if that is unique."""
        attribute, wanted = attribute_of(column), self._reader.narrowed(cls, selection)
        chosen = rows_by(wanted, column) if statement is None else statement(wanted)

        async def load(keys: list[uuid.UUID]) -> list[T | None]:
            rows = await self._reader.rows(chosen, {KEYS: keys})
            found = {getattr(node, attribute): node for node in instances(cls, wanted, rows)}
            return [found.get(key) for key in keys]

        return NodeLoader(load)

    def _children(self, cls: type[T], selection: Selection, parent: str, *order: str) -> ListLoader[T]:
        """All rows by their ``parent``, which is the column of a key."""
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
        """Loads from rows of (key, name, ...) what ``make`` makes of the rest, by the names."""

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
        """The loader called ``name`` for one page of children of each key."""
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
        """The loader for these arguments: equal arguments share one, so that they share its statement."""
        made: T | None = self._with_arguments.get(name)
        if made is None:
            made = self._with_arguments[name] = make()
        return made
