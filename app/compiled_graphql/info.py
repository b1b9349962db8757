"""The info that resolvers receive."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from graphql import GraphQLResolveInfo
from strawberry import Info
from strawberry.types.field import StrawberryField

from app.compiled_graphql.execution import Execution, ResponsePath, SelectedField


class LazyInfo(Info[Any, Any]):
    """Strawberry's ``Info``, which makes graphql-core's only when a resolver reads more than the context.

    Most resolvers take an info to reach the loaders, and making graphql-core's takes longer than resolving the field.
    """

    context: Any = None

    def __init__(
        self, field: SelectedField, definition: StrawberryField, path: ResponsePath, execution: Execution
    ) -> None:
        self._selected = field
        self._field = definition
        self._path = path
        self._execution = execution
        self.context = execution.context

    @cached_property
    def _raw_info(self) -> GraphQLResolveInfo[Any]:  # type: ignore[override]
        return self._execution.resolve_info(self._selected, self._path)
