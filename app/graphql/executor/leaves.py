"""Scalars and enums on their way into the response, and which values are just values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLSchema,
    GraphQLString,
    GraphQLType,
    is_leaf_type,
    is_object_type,
)
from graphql.execution import Executor
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.enum import StrawberryEnumDefinition

BACKREF = "strawberry-definition"
"""Where Strawberry leaves its own definition in the ``extensions`` of a type, a field or a schema."""

_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, dt.datetime, dt.date, uuid.UUID)
_UNCHANGED: dict[object, type] = {
    GraphQLString.coerce_output_value: str,
    GraphQLID.coerce_output_value: str,
    GraphQLBoolean.coerce_output_value: bool,
}
_COERCED: dict[object, type] = {
    GraphQLInt.coerce_output_value: int,
    GraphQLFloat.coerce_output_value: float,
}


def plain_classes(schema: GraphQLSchema) -> frozenset[type]:
    """Classes whose instances can't be awaited and are no exceptions."""
    kept: frozenset[type] | None = schema.extensions.get(__name__)
    if kept is None:
        origins = (origin_of(type_) for type_ in schema.type_map.values())
        found = {origin for origin in origins if origin is not None and is_plain(origin)}
        kept = schema.extensions[__name__] = frozenset(found.union(_PLAIN))
    return kept


def origin_of(graphql_type: Any) -> type | None:
    """The Python class which Strawberry made an object type or enum of."""
    definition = graphql_type.extensions.get(BACKREF)
    if isinstance(definition, StrawberryEnumDefinition):
        return definition.wrapped_cls
    if is_object_type(graphql_type) and isinstance(definition, StrawberryObjectDefinition):
        return definition.origin
    return None


def is_plain(cls: type) -> bool:
    return not hasattr(cls, "__await__") and not issubclass(cls, Exception)


def unchanged(value: Any) -> Any:
    return value


def leaf_shortcut(output: GraphQLType) -> tuple[Callable[[Any], Any], frozenset[type]]:
    """(function, classes): what turns values of these classes into what the response shows, without a closer look.

    The function raises what graphql-core would. There are no classes for an output that is not a scalar or enum.
    """
    if not is_leaf_type(output):
        return unchanged, frozenset()
    coerce = output.coerce_output_value
    if coerce in _UNCHANGED:
        return unchanged, frozenset([_UNCHANGED[coerce]])
    if coerce in _COERCED:
        return coerce, frozenset([_COERCED[coerce]])
    if isinstance(output, GraphQLEnumType):
        return enum_shortcut(output)
    return partial(Executor.complete_leaf_value, output), frozenset(_PLAIN) - {type(None)}


def enum_shortcut(leaf: GraphQLEnumType) -> tuple[Callable[[Any], Any], frozenset[type]]:
    origin = origin_of(leaf)
    if origin is None or not is_plain(origin):
        return unchanged, frozenset()
    # By identity: an enum's own hash is a Python function, and its members are never freed.
    names = {id(member): leaf.coerce_output_value(member) for member in origin}  # type: ignore[attr-defined]
    return lambda value: names.get(id(value)) or Executor.complete_leaf_value(leaf, value), frozenset(
        [origin]
    )
