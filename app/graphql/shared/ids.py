"""Global ids: what clients send as ``ID`` arguments, and the keys of the rows they mean."""

from __future__ import annotations

import base64
import binascii
import uuid

import strawberry
from strawberry.relay import GlobalID

from app.errors import NotFound


def global_id(type_name: str, key: uuid.UUID) -> strawberry.ID:
    return strawberry.ID(str(GlobalID(type_name, str(key))))


def split_id(text: str) -> tuple[str | None, uuid.UUID] | None:
    """(type name, key) of a global id, (None, key) of a bare UUID, ``None`` for anything else."""
    type_name: str | None = None
    if len(text) != 36:
        try:
            type_name, _, text = base64.b64decode(text, validate=True).decode("ascii").partition(":")
        except (binascii.Error, ValueError):
            return None
    try:
        return type_name, uuid.UUID(text)
    except ValueError:
        return None


def key_of(text: str | None, type_name: str) -> uuid.UUID | None:
    """The key of a ``type_name``, or ``None`` if ``text`` can't be the id of one."""
    parts = split_id(text) if text is not None else None
    return parts[1] if parts is not None and parts[0] in (None, type_name) else None


def required_key(text: str, type_name: str, *path: str) -> uuid.UUID:
    """The key of a ``type_name``; raises ``NotFound`` with the ``path`` of the input field for any other id."""
    key = key_of(text, type_name)
    if key is None:
        raise NotFound(f"This is not the id of a {type_name}.", path=path)
    return key
