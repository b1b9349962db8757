"""Mutations that create and delete webhooks."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.graphql.webhooks.inputs import CreateWebhookInput, DeleteWebhookInput
from app.graphql.webhooks.types import Webhook
from app.services import webhooks


@strawberry.type(description="Outcome of createWebhook.")
class CreateWebhookPayload(Payload):
    webhook: Webhook | None = null_on_error("The new webhook")
    secret: str | None = null_on_error("The secret that signs the calls; it is shown only here")


@strawberry.type(description="Outcome of deleteWebhook.")
class DeleteWebhookPayload(Payload):
    deleted_webhook_id: strawberry.ID | None = null_on_error("Global id of the deleted webhook")


@strawberry.type(description="Changes of webhooks.")
class WebhookMutation:
    @mutation("Create a webhook: other systems start runs of a pipeline with signed calls.")
    async def create_webhook(
        self, info: Info, request: Annotated[CreateWebhookInput, INPUT]
    ) -> CreateWebhookPayload:
        context = info.context
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        name = storable(draft_of(request))["name"]
        webhook_id, secret = await webhooks.create_webhook(context.engine, pipeline_id, name)
        webhook = await context.fresh_loaders().webhook_by_id.load(webhook_id)
        return CreateWebhookPayload(webhook=webhook, secret=secret)

    @mutation("Delete a webhook: further calls are refused.")
    async def delete_webhook(
        self, info: Info, request: Annotated[DeleteWebhookInput, INPUT]
    ) -> DeleteWebhookPayload:
        webhook_id = required_key(request.webhook_id, "Webhook", "webhookId")
        await webhooks.delete_webhook(info.context.engine, webhook_id)
        info.context.forget_loaded()
        return DeleteWebhookPayload(deleted_webhook_id=global_id("Webhook", webhook_id))
