"""Queries of stage runs."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none
from app.graphql.stage_runs.types import StageRun


@strawberry.type(description="Reads of stage runs.")
class StageRunQuery:
    @strawberry.field(description="The stage run with this id; null if there is none.", metadata=reads_only())
    async def stage_run(self, info: Info, node_id: NodeId) -> StageRun | None:
        return await node_or_none(info.context.loaders.stage_run_by_id, node_id, "StageRun")
