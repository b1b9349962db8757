"""What clients send about webhooks."""

from __future__ import annotations

import strawberry


@strawberry.input(description="A webhook for a pipeline.")
class CreateWebhookInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to run.")
    name: str = strawberry.field(description="Name of the webhook, unique in its pipeline.")


@strawberry.input(description="Which webhook to delete.")
class DeleteWebhookInput:
    webhook_id: strawberry.ID = strawberry.field(description="The webhook to delete; its runs stay.")
