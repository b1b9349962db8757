"""Scalars for times, and for numbers that GraphQL's own types can't carry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any, NewType

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.scalar import ScalarDefinition

from app.domain.text import name_of_number

BigInt = NewType("BigInt", int)
MetricValue = NewType("MetricValue", float)

_BIG_INT_LIMIT = 2**63
_NO_TIME = (
    "DateTime must be a time in ISO 8601, like 2026-03-29T02:30:00+02:00, in the years 1 to 9999 of UTC."
)
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def parse_big_int(value: Any) -> int:
    """Accepts an integer of 64 bits or its decimal digits."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise GraphQLError("BigInt must be an integer or a string of digits.")
    try:
        number = int(value)
    except ValueError:
        raise GraphQLError("BigInt must be an integer or a string of digits.") from None
    if not -_BIG_INT_LIMIT <= number < _BIG_INT_LIMIT:
        raise GraphQLError("BigInt must fit into 64 bits.")
    return number


def parse_big_int_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> int:
    if not isinstance(node, (IntValueNode, StringValueNode)):
        raise GraphQLError("BigInt must be an integer or a string of digits.")
    return parse_big_int(node.value)


def serialize_metric(value: float) -> float | str:
    """JSON has no NaN and no infinities: they are sent as their names."""
    return value if math.isfinite(value) else name_of_number(value)


def parse_metric(value: Any) -> float:
    """Accepts a number, "NaN", "Infinity" or "-Infinity"."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or value in _NOT_FINITE):
        raise GraphQLError("MetricValue must be a number, NaN, Infinity or -Infinity.")
    return float(value)


def parse_metric_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> float:
    if isinstance(node, (IntValueNode, FloatValueNode)):
        return float(node.value)
    return parse_metric(node.value if isinstance(node, StringValueNode) else None)


def parse_time(value: Any) -> dt.datetime:
    """Accepts a time in ISO 8601 and returns it in UTC."""
    try:
        time = dt.datetime.fromisoformat(value)
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        raise GraphQLError(_NO_TIME) from None


def parse_time_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> dt.datetime:
    return parse_time(node.value if isinstance(node, StringValueNode) else None)


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer of up to 64 bits, sent as a JSON number. Input may also be a string of digits.",
        serialize=int,
        parse_value=parse_big_int,
        parse_literal=parse_big_int_literal,
    ),
    dt.datetime: dataclasses.replace(
        DEFAULT_SCALAR_REGISTRY[dt.datetime],
        description="A time in ISO 8601, for example 2026-03-29T00:30:00+00:00. Output is in UTC, and so is "
        "input without an offset.",
        parse_value=parse_time,
        parse_literal=parse_time_literal,
    ),
    MetricValue: strawberry.scalar(
        name="MetricValue",
        description='A number, or one of "NaN", "Infinity" and "-Infinity", that JSON numbers can\'t express.',
        serialize=serialize_metric,
        parse_value=parse_metric,
        parse_literal=parse_metric_literal,
    ),
}
