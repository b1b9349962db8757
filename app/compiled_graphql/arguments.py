"""The arguments of a field, in the form its resolver takes them."""

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

from app.compiled_graphql.running import Field, Run

_UNCHANGEABLE = (str, int, float, bool, type(None), enum.Enum, dt.date, dt.time, uuid.UUID, UnsetType)


class Arguments:
    """Coerced once at all if they are constant, else once per operation, and not for each object."""

    def __init__(self, field: Field, definition: StrawberryField, converter: Any) -> None:
        self._field = field
        self._definition = definition
        self._converter = converter
        self._constant = not any(
            isinstance(argument.value, (VariableNode, ListValueNode, ObjectValueNode))
            for argument in field.nodes[0].arguments or ()
        )
        self._kept: dict[str, Any] | None = None

    def given(self, run: Run) -> dict[str, Any]:
        """A dictionary of the caller's own. Raises what graphql-core would, for each object again."""
        kept = self._kept if self._constant else run.arguments.get(self)
        if kept is not None:
            return dict(kept)
        values = self._coerced(run)
        if all(isinstance(value, _UNCHANGEABLE) for value in values.values()):
            self._keep(dict(values), run)
        return values

    def _keep(self, values: dict[str, Any], run: Run) -> None:
        if self._constant:
            self._kept = values
        else:
            run.arguments[self] = values

    def _coerced(self, run: Run) -> dict[str, Any]:
        executor, field = run.executor, self._field
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
