"""What clients send: orders, filters, and the inputs of the mutations."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import strawberry

from app.database.reads.pages import (
    BY_NAME,
    BY_NAME_REVERSED,
    NEWEST_FIRST,
    OLDEST_FIRST,
    Order,
)
from app.domain.text import LARGEST_NUMBER, NESTING_LIMIT, SMALLEST_NUMBER, is_storable
from app.errors import DomainError, InvalidInput
from app.graphql.shared.connections import NOT_GIVEN, given
from app.graphql.shared.ids import required_key

BY_TIME = {"CREATED_AT_DESC": "Newest first.", "CREATED_AT_ASC": "Oldest first."}
BY_TIME_OR_NAME = {**BY_TIME, "NAME_ASC": "By name.", "NAME_DESC": "By name, backwards."}

_ORDERS = {
    "CREATED_AT_DESC": NEWEST_FIRST,
    "CREATED_AT_ASC": OLDEST_FIRST,
    "NAME_ASC": BY_NAME,
    "NAME_DESC": BY_NAME_REVERSED,
}


def sort_of(order: enum.StrEnum) -> Order:
    return _ORDERS[order]


_REMOVABLE = "removable"


def optional(description: str) -> Any:
    """An input field that may be left out."""
    return strawberry.field(default=NOT_GIVEN, description=description)


def change(description: str, *, removable: bool = False) -> Any:
    """A ``Maybe`` field of an update. Only what is ``removable`` may be null, whatever its type says."""
    return strawberry.field(description=description, metadata={_REMOVABLE: removable})


def key_in_filter(node_id: strawberry.ID | None, type_name: str, field: str) -> uuid.UUID | None:
    """The key of a ``type_name`` in a field of a filter, or ``None`` if it has none."""
    chosen = given(node_id)
    return None if chosen is None else required_key(chosen, type_name, "filter", field)


def draft_of(value: Any) -> Any:
    """The plain form of an input, in camelCase, without what was left out or null."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [draft_of(item) for item in value]
    if dataclasses.is_dataclass(value):
        fields = {camel_case(name): given(field) for name, field in vars(value).items()}
        return {name: draft_of(field) for name, field in fields.items() if field is not None}
    return value


def changes_of(update: Any) -> dict[str, Any]:
    """The ``Maybe`` fields of ``update`` which were given, in camelCase; null is kept where it removes something.

    ``InvalidInput`` names each other one that is null.
    """
    given_fields = {
        camel_case(field.name): (value.value, field.metadata)
        for field in dataclasses.fields(update)
        if isinstance(value := getattr(update, field.name), strawberry.Some)
    }
    problems = [
        DomainError(f"{name}: must not be null; leave it out to keep it", path=(name,))
        for name, (value, metadata) in given_fields.items()
        if value is None and not metadata.get(_REMOVABLE)
    ]
    if problems:
        raise InvalidInput(problems)
    return {name: draft_of(value) for name, (value, _) in given_fields.items()}


def camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def refuse_unstorable(value: Any, *path: str) -> None:
    """Raise ``InvalidInput`` with all places whose text or numbers PostgreSQL can't store."""
    problems = [DomainError(message, path=where) for where, message in unstorable(value, path)]
    if problems:
        raise InvalidInput(problems)


def unstorable(value: Any, path: tuple[str, ...], depth: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find NUL characters, lone surrogates, numbers without a JSON form, and too deep nesting."""
    if depth > NESTING_LIMIT:
        yield path, f"Nested more than {NESTING_LIMIT} levels deep."
    elif isinstance(value, str):
        if not is_storable(value):
            yield path, "Text must not contain NUL characters or lone surrogates."
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "Numbers must be finite."
    elif isinstance(value, int):
        if not SMALLEST_NUMBER <= value <= LARGEST_NUMBER:
            yield path, "Integers must fit into 64 bits."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from unstorable(key, path, depth)
            yield from unstorable(item, (*path, str(key)), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unstorable(item, (*path, str(index)), depth + 1)
