"""Names for types of other modules: the graph is cyclic, so its types refer to each other lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

if TYPE_CHECKING:
    from app.graphql.types.artifact import Artifact
    from app.graphql.types.pipeline import Pipeline, Stage
    from app.graphql.types.run import Run
    from app.graphql.types.schedule import Schedule
    from app.graphql.types.stage_run import StageRun
    from app.graphql.types.webhook import Webhook

PipelineLink = Annotated["Pipeline", strawberry.lazy("app.graphql.types.pipeline")]
StageLink = Annotated["Stage", strawberry.lazy("app.graphql.types.pipeline")]
RunLink = Annotated["Run", strawberry.lazy("app.graphql.types.run")]
ScheduleLink = Annotated["Schedule", strawberry.lazy("app.graphql.types.schedule")]
StageRunLink = Annotated["StageRun", strawberry.lazy("app.graphql.types.stage_run")]
ArtifactLink = Annotated["Artifact", strawberry.lazy("app.graphql.types.artifact")]
WebhookLink = Annotated["Webhook", strawberry.lazy("app.graphql.types.webhook")]
