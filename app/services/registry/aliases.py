"""Moves aliases: each change is a compare-and-set, with an entry in the history in the same transaction."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import model_alias_moves, model_aliases, model_versions, registered_models
from app.domain.registry import AliasMove, previous_version
from app.domain.vocabulary import AliasMoveKind, TriggerType
from app.errors import Conflict, NotFound
from app.services.checks import check_all, check_text
from app.services.registry.names import (
    ACTOR_LIMIT,
    TEXT_LIMIT,
    check_alias,
    check_name,
    locked,
    next_number,
    no_version,
)

ALIASES_OF_A_MODEL = 100
"""At most as many: the graph lists them all at once."""


@dataclass(frozen=True)
class AliasChange:
    """Which alias a caller wants to change; ``expected_version`` is where the caller saw it, ``None`` for nowhere."""

    name: str
    alias: str
    expected_version: int | None
    reason: str | None = None
    actor: str | None = None


@dataclass(frozen=True)
class HeldAlias:
    """A locked alias of a locked registered model."""

    connection: AsyncConnection
    registered: sa.Row[Any, Any]
    change: AliasChange
    version: int | None
    is_protected: bool

    @property
    def registered_id(self) -> uuid.UUID:
        registered_id: uuid.UUID = self.registered.id
        return registered_id


async def set_alias(engine: AsyncEngine, change: AliasChange, version: int) -> uuid.UUID:
    """Points an alias to a version; returns the id of the registered model.

    ``CONFLICT`` if the alias does not point to ``expected_version``: another caller was faster.
    """
    _check_change(change)
    async with _held_alias(engine, change) as alias:
        version_id = await _id_of(alias, version)
        if await is_one_too_many(alias):
            raise Conflict(
                f"{change.name!r} has {ALIASES_OF_A_MODEL} aliases, which is the limit; remove one first",
                path=("alias",),
            )
        if version != alias.version:
            await point(alias, AliasMoveKind.SET, version, version_id)
    return alias.registered_id


async def move_alias_back(engine: AsyncEngine, change: AliasChange) -> uuid.UUID:
    """Points an alias to the version before its present one; a repetition leads further back."""
    _check_change(change)
    async with _held_alias(engine, change) as alias:
        _refuse_missing(alias)
        versions = await _versions(alias)
        previous = previous_version(await _moves(alias), versions)
        if previous is None:
            raise NotFound(
                f"the alias {change.alias!r} of {change.name!r} has no previous version; set it to one",
                path=("alias",),
            )
        await point(alias, AliasMoveKind.MOVED_BACK, previous, versions[previous])
    return alias.registered_id


async def protect_alias(engine: AsyncEngine, change: AliasChange, *, is_protected: bool) -> uuid.UUID:
    """Protects an alias, or ends the protection. A protected alias can't be removed, and no stage moves it."""
    _check_change(change)
    async with _held_alias(engine, change) as alias:
        _refuse_missing(alias)
        if alias.is_protected != is_protected:
            kind = AliasMoveKind.PROTECTED if is_protected else AliasMoveKind.UNPROTECTED
            this = _is_alias(alias.registered_id, change.alias)
            await alias.connection.execute(
                sa.update(model_aliases).where(this).values(is_protected=is_protected)
            )
            await _record(alias, kind, alias.version, is_protected=is_protected)
    return alias.registered_id


async def delete_alias(engine: AsyncEngine, change: AliasChange) -> uuid.UUID:
    """Removes an alias; its version stays. ``CONFLICT`` while the alias is protected."""
    _check_change(change)
    async with _held_alias(engine, change) as alias:
        _refuse_missing(alias)
        if alias.is_protected:
            raise Conflict(
                f"the alias {change.alias!r} of {change.name!r} is protected; end its protection first",
                path=("alias",),
            )
        this = _is_alias(alias.registered_id, change.alias)
        await alias.connection.execute(sa.delete(model_aliases).where(this))
        await _record(alias, AliasMoveKind.REMOVED, None, is_protected=False)
    return alias.registered_id


@contextlib.asynccontextmanager
async def _held_alias(engine: AsyncEngine, change: AliasChange) -> AsyncIterator[HeldAlias]:
    """A transaction that holds an alias at ``expected_version``."""
    async with engine.begin() as connection:
        alias = await read_alias(connection, await locked(connection, change.name), change)
        if alias.version != change.expected_version:
            raise Conflict(_lost(alias), path=("expectedVersion",))
        yield alias


def _lost(alias: HeldAlias) -> str:
    name = f"the alias {alias.change.alias!r} of {alias.change.name!r}"
    if alias.version is None:
        return f"{name} does not exist; leave out expectedVersion to create it with setModelAlias"
    return f"{name} points to version {alias.version}; if the change is still right, expect {alias.version}"


async def read_alias(
    connection: AsyncConnection, registered: sa.Row[Any, Any], change: AliasChange
) -> HeldAlias:
    statement = (
        sa.select(model_versions.c.version, model_aliases.c.is_protected)
        .join(model_versions, model_versions.c.id == model_aliases.c.version_id)
        .where(_is_alias(registered.id, change.alias))
    )
    row = (await connection.execute(statement)).one_or_none()
    version, is_protected = (None, False) if row is None else row
    return HeldAlias(connection, registered, change, version, is_protected)


def _refuse_missing(alias: HeldAlias) -> None:
    if alias.version is None:
        raise NotFound(f"{alias.change.name!r} has no alias {alias.change.alias!r}", path=("alias",))


def _is_alias(registered_model_id: uuid.UUID, alias: str) -> sa.ColumnElement[bool]:
    return sa.and_(model_aliases.c.registered_model_id == registered_model_id, model_aliases.c.alias == alias)


async def _id_of(alias: HeldAlias, version: int) -> uuid.UUID:
    versions = await _versions(alias, version)
    if version not in versions:
        raise no_version(alias.change.name, version)
    return versions[version]


async def _versions(alias: HeldAlias, only: int | None = None) -> dict[int, uuid.UUID]:
    """Ids by version, of all versions of the registered model or of one."""
    versions = model_versions.c
    statement = sa.select(versions.version, versions.id).where(
        versions.registered_model_id == alias.registered_id
    )
    if only is not None:
        statement = statement.where(versions.version == only)
    return {row.version: row.id for row in await alias.connection.execute(statement)}


async def _moves(alias: HeldAlias) -> list[AliasMove]:
    """The history of one alias."""
    moves = model_alias_moves.c
    columns = (moves.alias, moves.kind, moves.from_version, moves.to_version, moves.is_protected)
    statement = sa.select(*columns).where(
        moves.registered_model_id == alias.registered_id, moves.alias == alias.change.alias
    )
    return [AliasMove(*row) for row in await alias.connection.execute(statement.order_by(moves.seq))]


async def is_one_too_many(alias: HeldAlias) -> bool:
    """Whether the alias does not exist yet, and its registered model may have no further one."""
    if alias.version is not None:
        return False
    number = sa.select(sa.func.count()).where(model_aliases.c.registered_model_id == alias.registered_id)
    return (await alias.connection.execute(number)).scalar_one() >= ALIASES_OF_A_MODEL


async def point(alias: HeldAlias, kind: AliasMoveKind, version: int, version_id: uuid.UUID) -> None:
    row = {
        "registered_model_id": alias.registered_id,
        "alias": alias.change.alias,
        "version_id": version_id,
    }
    statement = insert(model_aliases).values(row)
    await alias.connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(model_aliases.primary_key),
            set_={"version_id": version_id, "updated_at": sa.func.now()},
        )
    )
    await _record(alias, kind, version, is_protected=alias.is_protected)


async def _record(
    alias: HeldAlias, kind: AliasMoveKind, to_version: int | None, *, is_protected: bool
) -> None:
    """Adds an entry to the history."""
    seq = await next_number(alias.connection, alias.registered, registered_models.c.last_move_seq)
    await alias.connection.execute(
        sa.insert(model_alias_moves).values(
            id=new_id(),
            registered_model_id=alias.registered_id,
            seq=seq,
            alias=alias.change.alias,
            kind=kind,
            from_version=alias.version,
            to_version=to_version,
            is_protected=is_protected,
            actor=alias.change.actor or TriggerType.API.value,
            reason=alias.change.reason,
            # The transaction may have waited for the lock since it began.
            at=sa.func.clock_timestamp(),
        )
    )


def _check_change(change: AliasChange) -> None:
    check_all(
        partial(check_name, change.name),
        partial(check_alias, change.alias),
        partial(check_text, "reason", change.reason, TEXT_LIMIT),
        partial(check_text, "actor", change.actor, ACTOR_LIMIT),
    )
