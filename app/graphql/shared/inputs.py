"""Fields of the inputs of mutations, and the plain drafts that services take."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import strawberry

from app.errors import DomainError, InvalidInput
from app.graphql.shared.connections import NOT_GIVEN, given

_REMOVABLE = "removable"


def optional(description: str) -> Any:
    """An input field that may be left out."""
    return strawberry.field(default=NOT_GIVEN, description=description)


def change(description: str, *, removable: bool = False) -> Any:
    """A ``Maybe`` field of an update. Null is refused unless the field is ``removable``, whatever its type says."""
    return strawberry.field(description=description, metadata={_REMOVABLE: removable})


def draft_of(value: Any) -> Any:
    """The plain form of an input: camelCase names, without fields that are left out or null."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [draft_of(item) for item in value]
    if dataclasses.is_dataclass(value):
        fields = {camel_case(name): given(field) for name, field in vars(value).items()}
        return {name: draft_of(field) for name, field in fields.items() if field is not None}
    return value


def changes_of(update: Any) -> dict[str, Any]:
    """The ``Maybe`` fields of ``update`` that are given, by camelCase names; ``None`` where null removes something.

    Raises ``InvalidInput`` with the name of each other field that is null.
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
