"""Whatever the operation and whatever fails: plans answer as graphql-core does."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError

CASES = 150


def told(errors: list[GraphQLError] | None) -> list[tuple[str, Any, Any]]:
    return [(error.message, error.path, error.locations) for error in errors or []]
