"""One database for many tests, each of which reads only the rows it writes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator

from sqlalchemy.engine import make_url

from app.database.engine import connect


@contextlib.asynccontextmanager
async def shared_database(server_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of the database ``template`` that exists during the block."""
    name = f"mlp_shared_{uuid.uuid4().hex}"
    connection = await connect(server_url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()
