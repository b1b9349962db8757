"""All loaders of one operation, assembled from the nouns."""

from __future__ import annotations

from app.graphql.artifacts.loaders import ArtifactLoaders
from app.graphql.lineage.loaders import LineageLoaders
from app.graphql.pipelines.loaders import PipelineLoaders
from app.graphql.registry.loaders import RegistryLoaders
from app.graphql.runs.loaders import RunLoaders
from app.graphql.schedules.loaders import ScheduleLoaders
from app.graphql.stage_runs.loaders import StageRunLoaders
from app.graphql.system.loaders import SystemLoaders
from app.graphql.webhooks.loaders import WebhookLoaders


class Loaders(
    PipelineLoaders,
    RunLoaders,
    StageRunLoaders,
    ArtifactLoaders,
    LineageLoaders,
    RegistryLoaders,
    ScheduleLoaders,
    WebhookLoaders,
    SystemLoaders,
):
    """All loaders of one operation."""
