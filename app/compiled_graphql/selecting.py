"""Selection sets: the fields of one object type, in the order of the response, each with a way to execute it."""

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
from app.compiled_graphql.leaves import leaf_shortcut, plain_classes
from app.compiled_graphql.resolving import Resolve, attribute_of, resolver
from app.compiled_graphql.running import Anchor, Complete, Expected, Field, Later, Place, Run, Slot

Execute: TypeAlias = Callable[[Any, Place, Run, dict[str, Any], Anchor], Any]
"""(object or its attribute, place of the field, run, container of the value, anchor) -> the completed value, or null
for now."""


class Step(NamedTuple):
    """A field of a selection set."""

    field: Field
    execute: Execute
    attribute: str | None
    """The attribute of the object which it shows, if it does just that."""
    sure: frozenset[type]
    """Classes of attributes that ``serialise`` may be given without a closer look."""
    serialise: Callable[[Any], Any] | None
    """For those which are not null; ``None``: they are shown as they are."""


class Selection:
    """What an operation wants of the objects of one type at one place of the document."""

    def __init__(self, parent: GraphQLObjectType, steps: list[Step]) -> None:
        self._parent = parent
        self._steps = steps
        self._unpacked = [(step.field.key, *step) for step in steps]

    def execute(self, source: Any, place: Place, run: Run, anchor: Anchor) -> dict[str, Any]:
        result: dict[str, Any] = {}
        type_name = self._parent.name
        for key, field, execute, attribute, sure, serialise in self._unpacked:
            try:
                if attribute is None:
                    result[key] = execute(source, (place, key, type_name), run, result, anchor)
                    continue
                # Most fields are columns of a row: a call for each would take as long as everything else.
                value = getattr(source, attribute)
                if value.__class__ not in sure:
                    result[key] = execute(value, (place, key, type_name), run, result, anchor)
                else:
                    result[key] = value if serialise is None or value is None else serialise(value)
            except Exception as error:
                here = (place, key, type_name)
                result[key] = run.failed(error, field, here, required=field.required)
        return result

    async def execute_serially(self, source: Any, run: Run) -> dict[str, Any]:
        """The roots of a mutation: each is complete before the next one begins."""
        result: dict[str, Any] = {}
        for step in self._steps:
            part = Selection(self._parent, [step]).execute(source, None, run, None)
            await run.fill_slots()
            result |= part
        return result


@dataclass
class Size:
    """How much was compiled for an operation so far."""

    fields: int = 0


class Selections:
    """The selection sets below a field, by the type of the object; each is compiled when first met."""

    def __init__(self, field: Field, size: Size) -> None:
        self._field = field
        self._size = size
        self._compiled: dict[GraphQLObjectType, Selection] = {}

    def of(self, object_type: GraphQLObjectType, run: Run) -> Selection:
        found = self._compiled.get(object_type)
        if found is None:
            collected = run.executor.collect_subfields(object_type, self._field.details)
            found = selection(run.executor, object_type, collected.grouped_field_set, self._size)
            self._compiled[object_type] = found
        return found


def selection(
    executor: Executor[Any], parent: GraphQLObjectType, grouped: GroupedFieldSet, size: Size
) -> Selection:
    steps = []
    for key, details in grouped.items():
        definition = executor.schema.get_field(parent, details[0].node.name.value)
        if definition is not None:
            field = field_of(key, details, definition, parent)
            steps.append(step_of(executor.schema, field, size))
    size.fields += len(steps)
    return Selection(parent, steps)


def field_of(
    key: str, details: FieldDetailsList, definition: GraphQLField, parent: GraphQLObjectType
) -> Field:
    nodes = [detail.node for detail in details]
    return Field(key, details, nodes, definition, parent, isinstance(definition.type, GraphQLNonNull))


def step_of(schema: GraphQLSchema, field: Field, size: Size) -> Step:
    if field.nodes[0].name.value == "__typename":
        return Step(field, constant(field.parent.name), None, frozenset(), None)
    output = field.definition.type
    finish = finishing(field, completer(output, field, Selections(field, size), schema), schema)
    sure, serialise = leaf_shortcut(output)
    attribute = attribute_of(field, schema)
    if attribute is not None:
        return Step(field, finish, attribute, sure, serialise)
    return Step(field, resolved(resolver(field, schema), sure, serialise, finish), None, sure, serialise)


def constant(value: str) -> Execute:
    def execute(source: Any, place: Place, run: Run, result: dict[str, Any], anchor: Anchor) -> Any:
        return value

    return execute


def finishing(field: Field, complete: Complete, schema: GraphQLSchema) -> Execute:
    """What completes any resolved value, now or when it is there."""
    key, required, plain = field.key, field.required, plain_classes(schema)
    expected, completed = Expected.of(field, complete, required)

    def finish(value: Any, place: Place, run: Run, result: dict[str, Any], anchor: Anchor) -> Any:
        if value.__class__ is Loaded or (value.__class__ not in plain and run.is_awaitable(value)):
            run.wait(value, Slot(expected, result, place, anchor))
            return None
        try:
            return complete(value, place, run, anchor if required else (result, key, place))
        except Later as later:
            run.wait(later.completed, Slot(completed, result, place, anchor))
            return None

    return finish


def resolved(
    resolve: Resolve, sure: frozenset[type], serialise: Callable[[Any], Any] | None, finish: Execute
) -> Execute:
    def execute(source: Any, place: Place, run: Run, result: dict[str, Any], anchor: Anchor) -> Any:
        value = resolve(source, place, run)
        if value.__class__ not in sure:
            return finish(value, place, run, result, anchor)
        return value if serialise is None or value is None else serialise(value)

    return execute
