"""Queries of webhooks."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.shared.connections import Connection
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none, root_list
from app.graphql.webhooks.types import Webhook


@strawberry.type(description="Reads of webhooks.")
class WebhookQuery:
    webhooks: Connection[Webhook] = root_list(
        Webhook, selections.WEBHOOKS, "All webhooks of all pipelines, newest first."
    )

    @strawberry.field(description="The webhook with this id; null if there is none.", metadata=reads_only())
    async def webhook(self, info: Info, node_id: NodeId) -> Webhook | None:
        return await node_or_none(info.context.loaders.webhook_by_id, node_id, "Webhook")
