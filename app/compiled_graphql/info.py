"""What a resolver is told about the operation."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from graphql import GraphQLResolveInfo
from strawberry import Info
from strawberry.types.field import StrawberryField

from app.compiled_graphql.running import Field, Place, Run


class LazyInfo(Info[Any, Any]):
    """Strawberry's ``Info``, but graphql-core's is only made if a resolver asks for more than the context.

    Nearly all resolvers take an info to reach the loaders, and the path of a field takes longer to make than the
    field itself.
    """

    context: Any = None

    def __init__(self, field: Field, definition: StrawberryField, place: Place, run: Run) -> None:
        self._planned = field
        self._field = definition
        self._place = place
        self._run = run
        self.context = run.context

    @cached_property
    def _raw_info(self) -> GraphQLResolveInfo[Any]:  # type: ignore[override]
        return self._run.resolve_info(self._planned, self._place)
