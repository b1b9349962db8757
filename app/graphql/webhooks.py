"""Reading, making and removing webhooks."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.database import queries
from app.graphql.errors import UserError
from app.graphql.executor.reading import reads
from app.graphql.ids import global_id, required_key
from app.graphql.info import Info
from app.graphql.inputs import draft_of
from app.graphql.pages import Connection
from app.graphql.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.graphql.queries import NodeId, newest_first, node_or_none
from app.graphql.types.webhook import Webhook
from app.services import webhooks


@strawberry.input(description="A webhook for a pipeline.")
class CreateWebhookInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to run.")
    name: str = strawberry.field(description="Name of the webhook, unique in its pipeline.")


@strawberry.input(description="Which webhook to delete.")
class DeleteWebhookInput:
    webhook_id: strawberry.ID = strawberry.field(description="The webhook to delete; its runs stay.")


@strawberry.type(description="Outcome of createWebhook.")
class CreateWebhookPayload:
    webhook: Webhook | None = none_of("The new webhook")
    secret: str | None = none_of("What calls are signed with; it is told this once only")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of deleteWebhook.")
class DeleteWebhookPayload:
    deleted_webhook_id: strawberry.ID | None = none_of("Global id of the webhook which is gone")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Reads of webhooks.")
class WebhookQuery:
    webhooks: Connection[Webhook] = newest_first(
        Webhook, queries.WEBHOOKS, "All webhooks of all pipelines, newest first."
    )

    @strawberry.field(description="One webhook, or null.", metadata=reads())
    async def webhook(self, info: Info, node_id: NodeId) -> Webhook | None:
        return await node_or_none(info.context.loaders.webhook_by_id, node_id, "Webhook")


@strawberry.type(description="Changes of webhooks.")
class WebhookMutation:
    @strawberry.mutation(description="Let another system run a pipeline by signed calls.")
    @expected_errors
    async def create_webhook(
        self, info: Info, request: Annotated[CreateWebhookInput, INPUT]
    ) -> CreateWebhookPayload:
        context = info.context
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        name = storable(draft_of(request))["name"]
        webhook_id, secret = await webhooks.create_webhook(context.engine, pipeline_id, name)
        context.forget_loaded()
        webhook = await context.loaders.webhook_by_id.load(webhook_id)
        return CreateWebhookPayload(webhook=webhook, secret=secret)

    @strawberry.mutation(description="Delete a webhook: calls are refused from now on.")
    @expected_errors
    async def delete_webhook(
        self, info: Info, request: Annotated[DeleteWebhookInput, INPUT]
    ) -> DeleteWebhookPayload:
        webhook_id = required_key(request.webhook_id, "Webhook", "webhookId")
        await webhooks.delete_webhook(info.context.engine, webhook_id)
        info.context.forget_loaded()
        return DeleteWebhookPayload(deleted_webhook_id=global_id("Webhook", webhook_id))
