"""Loads stage runs and what belongs to a stage run."""

from __future__ import annotations

import uuid
from functools import cached_property

from strawberry.scalars import JSON

from app.compiled_graphql.batching import DataLoader
from app.database.reads import selections
from app.database.reads.pages import Window
from app.database.reads.series import metric_series, sample_peaks
from app.database.reads.stage_runs import log_tails, stage_run_specs, stored_logs
from app.database.tables import stage_runs
from app.graphql.shared.loading import ListLoader, LoaderFactory, NodeLoader, PageLoader
from app.graphql.stage_runs.attempts import StageAttempt
from app.graphql.stage_runs.series import MetricPoint, ResourceSample
from app.graphql.stage_runs.types import StageRun
from app.storage.base import StoredBlob


class StageRunLoaders(LoaderFactory):
    """Loads stage runs and what belongs to a stage run."""

    @cached_property
    def stage_run_by_id(self) -> NodeLoader[StageRun]:
        return self._node(StageRun, selections.STAGE_RUNS, "id")

    @cached_property
    def stage_runs_by_run(self) -> ListLoader[StageRun]:
        return self._children(StageRun, selections.STAGE_RUNS, "pipeline_run_id", "position", "id")

    def stage_runs_by_stage(self, window: Window) -> PageLoader[StageRun]:
        return self._page(
            StageRun, selections.STAGE_RUNS, stage_runs.c.stage_id, window, ("stage runs", window)
        )

    @cached_property
    def attempts_by_stage_run(self) -> ListLoader[StageAttempt]:
        return self._children(StageAttempt, selections.ATTEMPTS, "stage_run_id", "attempt")

    @cached_property
    def spec_by_stage_run(self) -> DataLoader[uuid.UUID, JSON | None]:
        return self._value(stage_run_specs(), None)

    @cached_property
    def log_tails_by_stage_run(self) -> DataLoader[uuid.UUID, dict[int, str]]:
        """The last lines of the logs of its attempts, by the attempts' numbers."""
        return self._mapping(log_tails(), str)

    @cached_property
    def stored_logs_by_stage_run(self) -> DataLoader[uuid.UUID, dict[int, StoredBlob]]:
        """The stored logs of its attempts, by the attempts' numbers."""
        return self._mapping(stored_logs(), StoredBlob)

    def samples_by_stage_run(self, max_points: int) -> ListLoader[ResourceSample]:
        return self._with(
            ("samples", max_points),
            lambda: self._list(ResourceSample, selections.SAMPLES, sample_peaks(max_points), "stage_run_key"),
        )

    def metric_points_by_stage_run(self, name: str | None, max_points: int) -> ListLoader[MetricPoint]:
        statement = metric_series(max_points, one_name=name is not None)
        more = {} if name is None else {"name": name}
        return self._with(
            ("metric points", name, max_points),
            lambda: self._list(MetricPoint, selections.METRIC_POINTS, statement, "stage_run_key", more),
        )
