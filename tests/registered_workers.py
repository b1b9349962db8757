"""Workers registered by the tests themselves."""

from __future__ import annotations

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine

from app.execution import worker


async def register_worker(
    engine: AsyncEngine,
    host_id: uuid.UUID,
    slots: int,
    *,
    cpus: float | None = None,
    memory_mb: int | None = None,
    lease_seconds: float = 30.0,
) -> uuid.UUID:
    """A new worker with one CPU per slot unless said otherwise; its id."""
    cpus = slots if cpus is None else cpus
    return await worker.register(
        engine, host_id, slots, cpus=cpus, memory_mb=memory_mb, lease_seconds=lease_seconds
    )
