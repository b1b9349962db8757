"""The arguments of a field, coerced and converted as its resolver takes them."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Any

from graphql import ListValueNode, ObjectValueNode, VariableNode
from graphql.execution.values import get_argument_values
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField
from strawberry.types.unset import UnsetType

from app.compiled_graphql.execution import Execution, SelectedField

_IMMUTABLE = (str, int, float, bool, type(None), enum.Enum, dt.date, dt.time, uuid.UUID, UnsetType)


class Arguments:
    """Coerces once if the arguments are constant, else once per operation, instead of once per object."""

    def __init__(self, field: SelectedField, definition: StrawberryField, converter: Any) -> None:
        self._field = field
        self._definition = definition
        self._converter = converter
        self._constant = not any(
            isinstance(argument.value, (VariableNode, ListValueNode, ObjectValueNode))
            for argument in field.nodes[0].arguments or ()
        )
        self._cached: dict[str, Any] | None = None

    def for_execution(self, execution: Execution) -> dict[str, Any]:
        """A new dictionary, which the caller may change. Raises the errors of graphql-core, for every object again."""
        cached = self._cached if self._constant else execution.arguments.get(self)
        if cached is not None:
            return dict(cached)
        values = self._coerced(execution)
        if all(isinstance(value, _IMMUTABLE) for value in values.values()):
            self._cache(dict(values), execution)
        return values

    def _cache(self, values: dict[str, Any], execution: Execution) -> None:
        if self._constant:
            self._cached = values
        else:
            execution.arguments[self] = values

    def _coerced(self, execution: Execution) -> dict[str, Any]:
        executor, field = execution.executor, self._field
        raw = get_argument_values(
            field.definition, field.nodes[0], executor.variable_values, None, executor.hide_suggestions
        )
        converted: dict[str, Any] = convert_arguments(
            raw,
            self._definition.arguments,
            scalar_registry=self._converter.scalar_registry,
            config=self._converter.config,
        )
        return converted
