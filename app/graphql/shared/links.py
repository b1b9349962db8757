"""Names for the types of other nouns: the graph is cyclic, so its types refer to each other lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

if TYPE_CHECKING:
    from app.graphql.artifacts.types import Artifact, Model
    from app.graphql.pipelines.types import Pipeline, Stage
    from app.graphql.registry.types import ModelVersion
    from app.graphql.runs.types import Run
    from app.graphql.schedules.types import Schedule
    from app.graphql.stage_runs.types import StageRun
    from app.graphql.webhooks.types import Webhook

PipelineLink = Annotated["Pipeline", strawberry.lazy("app.graphql.pipelines.types")]
StageLink = Annotated["Stage", strawberry.lazy("app.graphql.pipelines.types")]
RunLink = Annotated["Run", strawberry.lazy("app.graphql.runs.types")]
ScheduleLink = Annotated["Schedule", strawberry.lazy("app.graphql.schedules.types")]
StageRunLink = Annotated["StageRun", strawberry.lazy("app.graphql.stage_runs.types")]
ArtifactLink = Annotated["Artifact", strawberry.lazy("app.graphql.artifacts.types")]
ModelLink = Annotated["Model", strawberry.lazy("app.graphql.artifacts.types")]
ModelVersionLink = Annotated["ModelVersion", strawberry.lazy("app.graphql.registry.types")]
WebhookLink = Annotated["Webhook", strawberry.lazy("app.graphql.webhooks.types")]
