"""Reads of any node by its global id."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import strawberry
from strawberry import relay

from app.compiled_graphql.reading import reads_only
from app.errors import DomainError
from app.graphql.loaders import Loaders
from app.graphql.shared.connections import MAX_PAGE
from app.graphql.shared.ids import split_id
from app.graphql.shared.info import Info
from app.graphql.shared.loading import NodeLoader

AnyId = Annotated[
    strawberry.ID, strawberry.argument(name="id", description="Global id of a node of any type.")
]
AnyIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(description=f"Global ids of nodes of any types; at most {MAX_PAGE}."),
]


@strawberry.type(description="Reads of any node by its global id.")
class NodeQuery:
    @strawberry.field(description="Any node by its global id; null if there is none.", metadata=reads_only())
    async def node(self, info: Info, node_id: AnyId) -> relay.Node | None:
        return await any_node(info.context.loaders, node_id)

    @strawberry.field(
        description="Nodes by their global ids, in the order of the ids; null for each id without a node.",
        metadata=reads_only(),
    )
    async def nodes(self, info: Info, ids: AnyIds) -> list[relay.Node | None]:
        if len(ids) > MAX_PAGE:
            raise DomainError(f"At most {MAX_PAGE} ids are allowed, not {len(ids)}.", path=["ids"])
        return await asyncio.gather(*(any_node(info.context.loaders, node_id) for node_id in ids))


async def any_node(loaders: Loaders, node_id: str) -> relay.Node | None:
    type_name, key = split_id(node_id) or (None, None)
    by_type: dict[str | None, NodeLoader[Any]] = {
        "Pipeline": loaders.pipeline_by_id,
        "Stage": loaders.stage_by_id,
        "Run": loaders.run_by_id,
        "StageRun": loaders.stage_run_by_id,
        "Artifact": loaders.artifact_by_id,
        "Dataset": loaders.dataset_by_id,
        "Model": loaders.model_by_id,
        "RegisteredModel": loaders.registered_model_by_id,
        "ModelVersion": loaders.model_version_by_id,
        "Worker": loaders.worker_by_id,
        "Schedule": loaders.schedule_by_id,
        "Webhook": loaders.webhook_by_id,
    }
    if key is None or type_name not in by_type:
        return None
    node: relay.Node | None = await by_type[type_name].load(key)
    return node
