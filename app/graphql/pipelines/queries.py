"""Queries of pipelines."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.pipelines.inputs import PipelineFilterArgument, PipelineOrderArgument
from app.graphql.pipelines.types import Pipeline
from app.graphql.shared.connections import Connection
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none, root_list


@strawberry.type(description="Reads of pipelines.")
class PipelineQuery:
    pipelines: Connection[Pipeline] = root_list(
        Pipeline,
        selections.PIPELINES,
        "All pipelines.",
        where=PipelineFilterArgument,
        order_by=PipelineOrderArgument,
    )

    @strawberry.field(description="The pipeline with this id; null if there is none.", metadata=reads_only())
    async def pipeline(self, info: Info, node_id: NodeId) -> Pipeline | None:
        return await node_or_none(info.context.loaders.pipeline_by_id, node_id, "Pipeline")
