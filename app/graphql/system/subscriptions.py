"""Live streams of the server's host."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from app.graphql.shared.info import Info
from app.graphql.shared.positions import follow, locating_errors
from app.graphql.system.types import SystemSample


@locating_errors
async def system_samples(info: Info) -> AsyncGenerator[SystemSample, None]:
    async with aclosing(follow(info.root_value, lambda _: info.context.system.samples(), None)) as samples:
        async for sample in samples:
            yield SystemSample.of(sample)


@strawberry.type(description="Live streams of the server's host.")
class SystemSubscription:
    system_samples = strawberry.subscription(
        resolver=system_samples,
        description="CPU and memory of the server's host, once per second. It never completes by itself.",
    )
