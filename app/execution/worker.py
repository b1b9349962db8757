"""A worker's row: its lease proves, on the database's clock, that the process is alive."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app import __version__
from app.database.claims import take_claims_lock
from app.database.columns import new_id
from app.database.tables import workers

HEARTBEATS_PER_LEASE = 4


async def register(
    engine: AsyncEngine,
    host_id: uuid.UUID,
    slots: int,
    *,
    cpus: float,
    memory_mb: int | None,
    lease_seconds: float,
) -> uuid.UUID:
    """Inserts a worker with a fresh lease; returns its id. ``memory_mb`` None is no limit.

    Takes the claims lock, so that a host does not return while another worker declares it lost.
    """
    worker_id = new_id()
    async with engine.begin() as connection:
        await take_claims_lock(connection)
        await connection.execute(
            sa.insert(workers).values(
                id=worker_id,
                host_id=host_id,
                host_name=socket.gethostname()[:255],
                pid=os.getpid(),
                version=__version__,
                slots=slots,
                cpus=cpus,
                memory_mb=memory_mb,
                lease_until=sa.func.clock_timestamp() + timedelta(seconds=lease_seconds),
            )
        )
    return worker_id


async def renew(engine: AsyncEngine, worker_id: uuid.UUID, lease_seconds: float) -> bool:
    """Extends the lease; False if it has ended: then another worker may have adopted the attempts."""
    statement = (
        sa.update(workers)
        .where(workers.c.id == worker_id, workers.c.lease_until > sa.func.now())
        .values(lease_until=sa.func.now() + timedelta(seconds=lease_seconds))
    )
    async with engine.begin() as connection:
        return (await connection.execute(statement)).rowcount == 1


async def release(engine: AsyncEngine, worker_id: uuid.UUID) -> None:
    """Ends the lease; called when the worker stops."""
    statement = sa.update(workers).where(workers.c.id == worker_id).values(lease_until=sa.func.now())
    async with engine.begin() as connection:
        await connection.execute(statement)
