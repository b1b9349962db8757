"""Loads pipelines and their stages."""

from __future__ import annotations

from functools import cached_property

from app.database.reads import selections
from app.graphql.pipelines.types import Pipeline, Stage
from app.graphql.shared.loading import ListLoader, LoaderFactory, NodeLoader


class PipelineLoaders(LoaderFactory):
    """Loads pipelines and their stages."""

    @cached_property
    def pipeline_by_id(self) -> NodeLoader[Pipeline]:
        return self._node(Pipeline, selections.PIPELINES, "id")

    @cached_property
    def stage_by_id(self) -> NodeLoader[Stage]:
        return self._node(Stage, selections.STAGES, "id")

    @cached_property
    def stages_by_pipeline(self) -> ListLoader[Stage]:
        """Removed stages too."""
        return self._children(Stage, selections.STAGES, "pipeline_id", "order", "id")
