"""Loads artifacts, datasets and models."""

from __future__ import annotations

import uuid
from collections import defaultdict
from functools import cached_property

from app.compiled_graphql.batching import DataLoader
from app.database.reads import selections
from app.database.reads.pages import ARTIFACTS_OF_RUNS, ARTIFACTS_WITH_TWINS, TWIN, Window
from app.database.reads.selections import KEYS
from app.database.reads.stage_runs import datasets_by_stage_run
from app.database.tables import (
    artifacts,
    models,
    stage_runs,
)
from app.graphql.artifacts.types import Artifact, Dataset, Model
from app.graphql.shared.loading import LoaderFactory, NodeLoader, PageLoader
from app.graphql.shared.rows import instances


class ArtifactLoaders(LoaderFactory):
    """Loads artifacts, datasets and models."""

    @cached_property
    def artifact_by_id(self) -> NodeLoader[Artifact]:
        return self._node(Artifact, selections.ARTIFACTS, "id")

    @cached_property
    def dataset_by_id(self) -> NodeLoader[Dataset]:
        return self._node(Dataset, selections.DATASETS, "id")

    @cached_property
    def model_by_id(self) -> NodeLoader[Model]:
        return self._node(Model, selections.MODELS, "id")

    @cached_property
    def dataset_by_artifact(self) -> NodeLoader[Dataset]:
        return self._node(Dataset, selections.DATASETS, "artifact_id")

    @cached_property
    def model_by_artifact(self) -> NodeLoader[Model]:
        return self._node(Model, selections.MODELS, "artifact_id")

    def artifacts_by_run(self, window: Window) -> PageLoader[Artifact]:
        return self._page(
            Artifact,
            selections.ARTIFACTS,
            stage_runs.c.pipeline_run_id,
            window,
            ("artifacts of runs", window),
            source=ARTIFACTS_OF_RUNS,
        )

    def artifacts_by_content_of(self, window: Window) -> PageLoader[Artifact]:
        """The other artifacts with the same bytes as each key."""
        name = ("artifacts of the same content", window)
        return self._page(
            Artifact, selections.ARTIFACTS, TWIN.c.id, window, name, source=ARTIFACTS_WITH_TWINS
        )

    def artifacts_by_stage_run(self, window: Window) -> PageLoader[Artifact]:
        name = ("artifacts of stage runs", window)
        return self._page(Artifact, selections.ARTIFACTS, artifacts.c.stage_run_id, window, name)

    def artifacts_by_stage(self, window: Window) -> PageLoader[Artifact]:
        name = ("artifacts of stages", window)
        return self._page(Artifact, selections.ARTIFACTS, artifacts.c.stage_id, window, name)

    @cached_property
    def datasets_by_stage_run(self) -> DataLoader[uuid.UUID, dict[str, Dataset]]:
        """Its datasets by their paths in the output folder."""

        async def load(keys: list[uuid.UUID]) -> list[dict[str, Dataset]]:
            rows = await self._reader.rows(datasets_by_stage_run(), {KEYS: keys})
            found: dict[uuid.UUID, dict[str, Dataset]] = defaultdict(dict)
            for (key, path, *_), dataset in zip(
                rows, instances(Dataset, selections.DATASETS, rows, skip=2), strict=True
            ):
                found[key][path] = dataset
            return [found[key] for key in keys]

        return DataLoader(load)

    def models_by_dataset(self, window: Window) -> PageLoader[Model]:
        return self._page(Model, selections.MODELS, models.c.training_dataset_id, window, ("models", window))
