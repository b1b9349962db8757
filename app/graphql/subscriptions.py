"""The live side of the graph. Context attributes used: ``engine``, ``broker``, ``logs`` and ``system``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import strawberry

from app.graphql.types.events import SystemSample


@strawberry.type(description="Live streams; each one is bounded and can be resumed where it broke off.")
class Subscription:
    @strawberry.subscription(description="CPU and memory of the server's host, once per second.")
    async def system_samples(self, info: strawberry.Info[Any, None]) -> AsyncGenerator[SystemSample, None]:
        async for reading in info.context.system.samples():
            yield SystemSample.of(reading)
