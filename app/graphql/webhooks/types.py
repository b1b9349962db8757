"""Webhooks: other systems start runs with signed calls."""

from __future__ import annotations

import datetime as dt
import uuid

import strawberry
from strawberry import relay

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import PipelineLink


@strawberry.type(
    description="An address that other systems call to start a run of a pipeline. They sign each call with its secret."
)
class Webhook(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_key: strawberry.Private[uuid.UUID]
    name: str = strawberry.field(description="Name of the webhook, unique in its pipeline.")
    created_at: dt.datetime = strawberry.field(description="When the webhook was created.")
    updated_at: dt.datetime = strawberry.field(description="When the webhook last changed.")

    @strawberry.field(description="Path on this server to send POST requests to.", metadata=reads_only())
    def path(self) -> str:
        return f"/hooks/{self.id}"

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="The pipeline it runs.", metadata=reads_only())
    def pipeline(self, info: Info) -> PipelineLink:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))
