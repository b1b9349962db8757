"""Compiled selection sets: the fields of one object type, in the order of the response, each with how to execute it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from graphql import (
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet

from app.compiled_graphql.batching import Loaded
from app.compiled_graphql.completing import completer
from app.compiled_graphql.execution import (
    AwaitedValue,
    Complete,
    CompletedByCore,
    Completion,
    Execution,
    NullTarget,
    ResponsePath,
    SelectedField,
)
from app.compiled_graphql.leaves import leaf_shortcut, plain_classes
from app.compiled_graphql.resolving import Resolve, attribute_of, resolver

Execute: TypeAlias = Callable[[Any, ResponsePath, Execution, dict[str, Any], NullTarget], Any]
"""(object or its attribute, path of the field, execution, container of the value, null target) -> completed value.

The value is null for the time being if it is awaited.
"""


class FieldPlan(NamedTuple):
    """How to execute a field of a selection set."""

    field: SelectedField
    execute: Execute
    attribute: str | None
    """The attribute of the object that the field shows, if it does nothing else."""
    leaf_classes: frozenset[type]
    """Values of exactly these classes need no check before ``serialise``."""
    serialise: Callable[[Any], Any] | None
    """Serialises a value of ``leaf_classes`` that is not null; ``None``: the response shows the value as it is."""


class SelectionPlan:
    """What one selection set of a document selects of the objects of one type."""

    def __init__(self, parent: GraphQLObjectType, fields: list[FieldPlan]) -> None:
        self._parent = parent
        self._fields = fields
        self._unpacked = [(plan.field.key, *plan) for plan in fields]

    def execute(
        self, source: Any, path: ResponsePath, execution: Execution, null_target: NullTarget
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        type_name = self._parent.name
        for key, field, execute, attribute, leaf_classes, serialise in self._unpacked:
            try:
                if attribute is None:
                    result[key] = execute(source, (path, key, type_name), execution, result, null_target)
                    continue
                # Inline: most fields are columns of a row, and a call for each would double the time of the whole.
                value = getattr(source, attribute)
                if value.__class__ not in leaf_classes:
                    result[key] = execute(value, (path, key, type_name), execution, result, null_target)
                else:
                    result[key] = value if serialise is None or value is None else serialise(value)
            except Exception as error:
                field_path = (path, key, type_name)
                result[key] = execution.failed(error, field, field_path, required=field.required)
        return result

    async def execute_serially(self, source: Any, execution: Execution) -> dict[str, Any]:
        """Execute the fields of a mutation in order: each is complete before the next begins."""
        result: dict[str, Any] = {}
        for plan in self._fields:
            part = SelectionPlan(self._parent, [plan]).execute(source, None, execution, None)
            await execution.complete_awaited_values()
            result |= part
        return result


@dataclass
class CompiledSize:
    """The number of fields compiled for an operation so far."""

    fields: int = 0


class SelectionPlans:
    """The selection set of a field by object type; each is compiled when the first object of its type is met."""

    def __init__(self, field: SelectedField, size: CompiledSize) -> None:
        self._field = field
        self._size = size
        self._compiled: dict[GraphQLObjectType, SelectionPlan] = {}

    def of(self, object_type: GraphQLObjectType, execution: Execution) -> SelectionPlan:
        found = self._compiled.get(object_type)
        if found is None:
            collected = execution.executor.collect_subfields(object_type, self._field.details)
            found = compile_selection(
                execution.executor, object_type, collected.grouped_field_set, self._size
            )
            self._compiled[object_type] = found
        return found


def compile_selection(
    executor: Executor[Any], parent: GraphQLObjectType, grouped: GroupedFieldSet, size: CompiledSize
) -> SelectionPlan:
    """Compile the fields selected of ``parent``."""
    fields = []
    for key, details in grouped.items():
        definition = executor.schema.get_field(parent, details[0].node.name.value)
        if definition is not None:
            field = selected_field(key, details, definition, parent)
            fields.append(compile_field(executor.schema, field, size))
    size.fields += len(fields)
    return SelectionPlan(parent, fields)


def selected_field(
    key: str, details: FieldDetailsList, definition: GraphQLField, parent: GraphQLObjectType
) -> SelectedField:
    nodes = [detail.node for detail in details]
    return SelectedField(key, details, nodes, definition, parent, isinstance(definition.type, GraphQLNonNull))


def compile_field(schema: GraphQLSchema, field: SelectedField, size: CompiledSize) -> FieldPlan:
    if field.nodes[0].name.value == "__typename":
        return FieldPlan(field, constant(field.parent.name), None, frozenset(), None)
    output = field.definition.type
    complete = complete_or_await(field, completer(output, field, SelectionPlans(field, size), schema), schema)
    leaf_classes, serialise = leaf_shortcut(output)
    attribute = attribute_of(field, schema)
    if attribute is not None:
        return FieldPlan(field, complete, attribute, leaf_classes, serialise)
    return FieldPlan(
        field,
        resolve_and_complete(resolver(field, schema), leaf_classes, serialise, complete),
        None,
        leaf_classes,
        serialise,
    )


def constant(value: str) -> Execute:
    def execute(
        source: Any, path: ResponsePath, execution: Execution, result: dict[str, Any], null_target: NullTarget
    ) -> Any:
        return value

    return execute


def complete_or_await(field: SelectedField, complete: Complete, schema: GraphQLSchema) -> Execute:
    """Completes a resolved value at once, or when it is ready if it must be awaited."""
    key, required, plain = field.key, field.required, plain_classes(schema)
    completion, completed = Completion.of(field, complete, required)

    def execute(
        value: Any, path: ResponsePath, execution: Execution, result: dict[str, Any], null_target: NullTarget
    ) -> Any:
        if value.__class__ is Loaded or (value.__class__ not in plain and execution.is_awaitable(value)):
            execution.track(value, AwaitedValue(completion, result, path, null_target))
            return None
        try:
            return complete(value, path, execution, null_target if required else (result, key, path))
        except CompletedByCore as by_core:
            execution.track(by_core.completed, AwaitedValue(completed, result, path, null_target))
            return None

    return execute


def resolve_and_complete(
    resolve: Resolve, leaf_classes: frozenset[type], serialise: Callable[[Any], Any] | None, complete: Execute
) -> Execute:
    def execute(
        source: Any, path: ResponsePath, execution: Execution, result: dict[str, Any], null_target: NullTarget
    ) -> Any:
        value = resolve(source, path, execution)
        if value.__class__ not in leaf_classes:
            return complete(value, path, execution, result, null_target)
        return value if serialise is None or value is None else serialise(value)

    return execute
