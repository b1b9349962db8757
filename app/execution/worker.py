"""A worker's row: proof that this process is alive, on the database's clock."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app import __version__
from app.database.columns import new_id
from app.database.models import workers

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = LEASE_SECONDS / 4

_LEASE = timedelta(seconds=LEASE_SECONDS)


async def register(engine: AsyncEngine, host_id: uuid.UUID, slots: int) -> uuid.UUID:
    """A new worker id with a fresh lease."""
    worker_id = new_id()
    async with engine.begin() as connection:
        await connection.execute(
            sa.insert(workers).values(
                id=worker_id,
                host_id=host_id,
                host_name=socket.gethostname()[:255],
                pid=os.getpid(),
                version=__version__,
                slots=slots,
                lease_until=sa.func.now() + _LEASE,
            )
        )
    return worker_id


async def renew(engine: AsyncEngine, worker_id: uuid.UUID) -> bool:
    """Extends the lease; False when it has run out already, so that somebody else may have taken over."""
    statement = (
        sa.update(workers)
        .where(workers.c.id == worker_id, workers.c.lease_until > sa.func.now())
        .values(lease_until=sa.func.now() + _LEASE)
    )
    async with engine.begin() as connection:
        return (await connection.execute(statement)).rowcount == 1


async def release(engine: AsyncEngine, worker_id: uuid.UUID) -> None:
    """Ends the lease at an orderly stop."""
    statement = sa.update(workers).where(workers.c.id == worker_id).values(lease_until=sa.func.now())
    async with engine.begin() as connection:
        await connection.execute(statement)
