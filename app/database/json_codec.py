"""JSON between Python and PostgreSQL: orjson, but strict about numbers."""

from __future__ import annotations

import math
import uuid

import orjson


def dumps(value: object) -> str:
    """JSON text of a value. Raises ``ValueError`` for NaN and infinities, which orjson would encode as null."""
    encoded = orjson.dumps(value, default=_encodable)
    if b"null" in encoded and _has_non_finite_number(value):
        raise ValueError("NaN and infinite numbers can't be stored as JSON")
    return encoded.decode()


def loads(text: str | bytes) -> object:
    """The value of a JSON text."""
    return orjson.loads(text)


def _encodable(value: object) -> str:
    # orjson encodes uuid.UUID itself, but not the subclass that asyncpg returns.
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be stored as JSON")


def _has_non_finite_number(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_non_finite_number, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_non_finite_number, value))
