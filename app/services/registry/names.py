"""Locks and checks registered models by their names."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.columns import new_id
from app.database.tables import registered_models
from app.domain.registry import alias_problem, name_problem
from app.errors import DomainError, NotFound

TEXT_LIMIT = 10_000
ACTOR_LIMIT = 255


async def made(connection: AsyncConnection, name: str) -> sa.Row[Any, Any]:
    """The registered model of this name, locked; created if it does not exist."""
    statement = insert(registered_models).values(id=new_id(), name=name)
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[registered_models.c.name]))
    return await locked(connection, name)


async def locked(connection: AsyncConnection, name: str) -> sa.Row[Any, Any]:
    columns = (registered_models.c.id, registered_models.c.name)
    statement = sa.select(*columns).where(registered_models.c.name == name)
    row = (await connection.execute(statement.with_for_update(key_share=True))).one_or_none()
    if row is None:
        raise NotFound(f"there is no registered model {name!r}", path=("name",))
    return row


async def next_number(
    connection: AsyncConnection, registered: sa.Row[Any, Any], counter: sa.Column[int]
) -> int:
    """Raises a counter of the locked registered model and returns it."""
    statement = (
        sa.update(registered_models)
        .where(registered_models.c.id == registered.id)
        .values({counter: counter + 1})
        .returning(counter)
    )
    return (await connection.execute(statement)).scalar_one()


def no_version(name: str, version: int) -> NotFound:
    return NotFound(f"{name!r} has no version {version}", path=("version",))


def check_name(name: str) -> None:
    _refuse_word("name", name_problem(name))


def check_alias(alias: str) -> None:
    _refuse_word("alias", alias_problem(alias))


def _refuse_word(field: str, problem: str | None) -> None:
    if problem is not None:
        raise DomainError(f"{field}: {problem}", path=(field,))
