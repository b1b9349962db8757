"""Loads runs and what belongs to a run."""

from __future__ import annotations

import uuid
from collections import defaultdict
from functools import cached_property

from strawberry.scalars import JSON

from app.compiled_graphql.batching import DataLoader
from app.database.reads import selections
from app.database.reads.pages import Window, page_per_parent
from app.database.reads.runs import (
    latest_runs,
    queue_positions,
    run_definitions,
    stage_limits,
    stage_run_counts,
)
from app.database.reads.selections import KEYS
from app.database.tables import (
    pipeline_runs,
    run_events,
)
from app.domain.explanations import QueuePosition
from app.domain.vocabulary import StageStatus
from app.graphql.runs.inputs import RunFilter
from app.graphql.runs.types import Run
from app.graphql.shared.filters import conditions_of
from app.graphql.shared.loading import ListLoader, LoaderFactory, NodeLoader, PageLoader, Row


class RunLoaders(LoaderFactory):
    """Loads runs and what belongs to a run."""

    @cached_property
    def run_by_id(self) -> NodeLoader[Run]:
        return self._node(Run, selections.RUNS, "id")

    @cached_property
    def latest_run_by_pipeline(self) -> NodeLoader[Run]:
        return self._node(Run, selections.RUNS, "pipeline_id", latest_runs)

    def runs_by_pipeline(self, window: Window, where: RunFilter | None) -> PageLoader[Run]:
        name = ("runs", window, repr(where))
        return self._page(
            Run, selections.RUNS, pipeline_runs.c.pipeline_id, window, name, conditions_of(where)
        )

    @cached_property
    def retries_by_run(self) -> ListLoader[Run]:
        return self._children(Run, selections.RUNS, "retry_of_id", "id")

    def events_by_run(self, window: Window) -> ListLoader[Row]:
        """Rows of ``run_events`` in order of ``seq``, one more than the window's limit if there are more."""

        async def load(keys: list[uuid.UUID]) -> list[list[Row]]:
            statement = page_per_parent(selections.EVENTS, run_events.c.run_id, window)
            events: dict[uuid.UUID, list[Row]] = defaultdict(list)
            for row in await self._reader.rows(statement, {KEYS: keys}):
                events[row.key].append(row)
            return [events[key] for key in keys]

        return self._with(("events", window), lambda: DataLoader(load))

    @cached_property
    def stage_run_counts_by_run(self) -> DataLoader[uuid.UUID, dict[StageStatus, int]]:
        return self._mapping(stage_run_counts(), int)

    @cached_property
    def definition_by_run(self) -> DataLoader[uuid.UUID, JSON | None]:
        return self._value(run_definitions(), None)

    @cached_property
    def stage_limit_by_run(self) -> DataLoader[uuid.UUID, int | None]:
        return self._value(stage_limits(), None)

    @cached_property
    def queue_position_by_run(self) -> DataLoader[uuid.UUID, QueuePosition]:
        async def load(keys: list[uuid.UUID]) -> list[QueuePosition]:
            rows = await self._reader.rows(queue_positions(), {KEYS: keys})
            found = {key: QueuePosition(*facts) for key, *facts in rows}
            return [found.get(key, QueuePosition(0, 0, None, False)) for key in keys]

        return DataLoader(load)
