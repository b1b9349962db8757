"""Kinds of columns that several tables have."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import JSONB


def new_id() -> uuid.UUID:
    """A UUIDv7: ordering by id is ordering by creation time, so ids serve as page cursors."""
    return uuid_utils.compat.uuid7()


def id_column() -> sa.Column[uuid.UUID]:
    """The primary key of most tables."""
    return sa.Column("id", sa.Uuid, primary_key=True, default=new_id)


def reference(name: str, target: str, *, on_delete: str = "CASCADE", **options: Any) -> sa.Column[uuid.UUID]:
    """A foreign key to ``target`` (``table.column``); NOT NULL by default."""
    options.setdefault("nullable", False)
    return sa.Column(name, sa.Uuid, sa.ForeignKey(target, ondelete=on_delete), **options)


def choice(name: str, values: type[enum.StrEnum], **options: Any) -> sa.Column[Any]:
    """One of an enum's values: text with a CHECK constraint in the database, the enum's member in Python."""
    options.setdefault("nullable", False)
    kind = sa.Enum(
        values,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )
    return sa.Column(name, kind, **options)


def instant(name: str, **options: Any) -> sa.Column[Any]:
    """A point in time, UTC."""
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def json_column(name: str, **options: Any) -> sa.Column[Any]:
    """A JSON document (``jsonb``); Python ``None`` is SQL NULL."""
    return sa.Column(name, JSONB(none_as_null=True), **options)


def one_of(values: Iterable[enum.StrEnum]) -> str:
    """The values as the right side of SQL's IN."""
    return "({})".format(", ".join(f"'{value}'" for value in values))


def timestamps() -> list[sa.Column[Any]]:
    """``created_at`` and ``updated_at``, by the clock of the database."""
    now = sa.func.now()
    return [
        instant("created_at", nullable=False, server_default=now),
        instant("updated_at", nullable=False, server_default=now, onupdate=now),
    ]
