"""How scalars and enums are serialised, and which classes of values are neither awaitable nor exceptions."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import orjson
from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLString,
    GraphQLType,
    is_leaf_type,
    is_object_type,
)
from graphql.execution import Executor
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.enum import StrawberryEnumDefinition

BACKREF = "strawberry-definition"
"""The key of Strawberry's definition in the ``extensions`` of a type, a field or a schema."""

_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, dt.datetime, dt.date, uuid.UUID)
_UNCHANGED: dict[object, type] = {
    GraphQLString.coerce_output_value: str,
    GraphQLID.coerce_output_value: str,
    GraphQLBoolean.coerce_output_value: bool,
}
_MIN_INT, _MAX_INT = -(2**31), 2**31 - 1

Shortcut: TypeAlias = tuple[frozenset[type], Callable[[Any], Any] | None]


def plain_classes(schema: GraphQLSchema) -> frozenset[type]:
    """Classes whose instances are neither awaitable nor exceptions."""
    classes: frozenset[type] | None = schema.extensions.get(__name__)
    if classes is None:
        origins = (origin_of(type_) for type_ in schema.type_map.values())
        found = {origin for origin in origins if origin is not None and is_plain(origin)}
        classes = schema.extensions[__name__] = frozenset(found.union(_PLAIN))
    return classes


def origin_of(graphql_type: Any) -> type | None:
    """The Python class of an object type or enum of Strawberry's."""
    definition = graphql_type.extensions.get(BACKREF)
    if isinstance(definition, StrawberryEnumDefinition):
        return definition.wrapped_cls
    if is_object_type(graphql_type) and isinstance(definition, StrawberryObjectDefinition):
        return definition.origin
    return None


def is_plain(cls: type) -> bool:
    """Whether the instances of a class are neither awaitable nor exceptions."""
    return not hasattr(cls, "__await__") and not issubclass(cls, Exception)


def leaf_shortcut(output: GraphQLType) -> Shortcut:
    """(classes, function): the function serialises values of exactly these classes, with the errors of graphql-core.

    Without a function these values are in the form of the response already, as null always is. The classes are empty
    for an output that is not a scalar or enum.
    """
    if isinstance(output, GraphQLNonNull):
        return value_shortcut(output.of_type)
    classes, serialise = value_shortcut(output)
    return (classes | {type(None)} if classes else classes), serialise


def value_shortcut(output: GraphQLType) -> Shortcut:
    """The shortcut for values that are not null."""
    if not is_leaf_type(output):
        return frozenset(), None
    coerce = output.coerce_output_value
    if coerce in _UNCHANGED:
        return frozenset([_UNCHANGED[coerce]]), None
    if coerce is GraphQLInt.coerce_output_value:
        return frozenset([int]), lambda value: value if _MIN_INT <= value <= _MAX_INT else coerce(value)
    if coerce is GraphQLFloat.coerce_output_value:
        return frozenset([float]), lambda value: value if math.isfinite(value) else coerce(value)
    if coerce is DEFAULT_SCALAR_REGISTRY[dt.datetime].serialize:
        return frozenset([dt.datetime]), isoformat
    if isinstance(output, GraphQLEnumType):
        return enum_shortcut(output)
    return frozenset(_PLAIN) - {type(None)}, partial(Executor.complete_leaf_value, output)


def isoformat(value: dt.datetime) -> str:
    """``value.isoformat()``, in a quarter of the time for UTC."""
    if value.tzinfo is dt.UTC:
        return orjson.dumps(value)[1:-1].decode("ascii")
    return value.isoformat()


def enum_shortcut(leaf: GraphQLEnumType) -> Shortcut:
    origin = origin_of(leaf)
    if origin is None or not is_plain(origin):
        return frozenset(), None
    # By identity, which is safe because members are never freed: hashing one would call a Python function.
    coerce = leaf.coerce_output_value
    names = {id(member): coerce(member) for member in origin}  # type: ignore[attr-defined]
    return frozenset([origin]), lambda value: names.get(id(value)) or coerce(value)
