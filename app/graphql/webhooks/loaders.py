"""Loads webhooks."""

from __future__ import annotations

from functools import cached_property

from app.database.reads import selections
from app.database.reads.pages import Window
from app.database.tables import webhooks
from app.graphql.shared.loading import LoaderFactory, NodeLoader, PageLoader
from app.graphql.webhooks.types import Webhook


class WebhookLoaders(LoaderFactory):
    """Loads webhooks."""

    @cached_property
    def webhook_by_id(self) -> NodeLoader[Webhook]:
        return self._node(Webhook, selections.WEBHOOKS, "id")

    def webhooks_by_pipeline(self, window: Window) -> PageLoader[Webhook]:
        name = ("webhooks", window)
        return self._page(Webhook, selections.WEBHOOKS, webhooks.c.pipeline_id, window, name)
