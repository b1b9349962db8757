"""Queries of schedules."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.schedules.types import Schedule
from app.graphql.shared.connections import Connection
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none, root_list


@strawberry.type(description="Reads of schedules.")
class ScheduleQuery:
    schedules: Connection[Schedule] = root_list(
        Schedule, selections.SCHEDULES, "All schedules of all pipelines, newest first."
    )

    @strawberry.field(description="The schedule with this id; null if there is none.", metadata=reads_only())
    async def schedule(self, info: Info, node_id: NodeId) -> Schedule | None:
        return await node_or_none(info.context.loaders.schedule_by_id, node_id, "Schedule")
