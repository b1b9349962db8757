"""Inputs of the mutations of webhooks."""

from __future__ import annotations

import strawberry


@strawberry.input(description="A new webhook of a pipeline.")
class CreateWebhookInput:
    pipeline_id: strawberry.ID = strawberry.field(description="Global id of the pipeline to run.")
    name: str = strawberry.field(description="Name of the webhook, unique in its pipeline.")


@strawberry.input(description="The webhook to delete.")
class DeleteWebhookInput:
    webhook_id: strawberry.ID = strawberry.field(
        description="Global id of the webhook to delete; its runs stay."
    )
