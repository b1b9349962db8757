"""Reads of pipelines."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.pipelines.inputs import PipelineFilterArgument, PipelineOrder, PipelineOrderArgument
from app.graphql.pipelines.types import Pipeline
from app.graphql.shared.connections import (
    NOT_GIVEN,
    After,
    Before,
    Connection,
    FirstOfRoot,
    Last,
    window_of,
)
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import sort_of
from app.graphql.shared.roots import NodeId, conditions_of, node_or_none, root_page


@strawberry.type(description="Reads of pipelines.")
class PipelineQuery:
    @strawberry.field(description="All pipelines.", metadata=reads_only())
    async def pipelines(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: PipelineFilterArgument = NOT_GIVEN,
        order_by: PipelineOrderArgument = PipelineOrder.CREATED_AT_DESC,
    ) -> Connection[Pipeline]:
        window = window_of(first, after, last, before, order=sort_of(order_by))
        conditions = conditions_of(where)
        return await root_page(info.context, Pipeline, selections.PIPELINES, window, conditions)

    @strawberry.field(description="One pipeline, or null.", metadata=reads_only())
    async def pipeline(self, info: Info, node_id: NodeId) -> Pipeline | None:
        return await node_or_none(info.context.loaders.pipeline_by_id, node_id, "Pipeline")
