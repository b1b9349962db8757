"""From what a resolver gave to what the response shows: "value completion" of the specification."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    is_leaf_type,
    is_list_type,
    is_object_type,
)
from graphql.execution import Executor
from graphql.execution.executor import invalid_return_type_error
from graphql.pyutils import Undefined, is_iterable

from app.compiled_graphql.leaves import BACKREF, is_plain, origin_of, plain_classes
from app.compiled_graphql.running import (
    Anchor,
    Complete,
    Expected,
    Field,
    Later,
    Place,
    Run,
    Slot,
    discard,
    field_place,
    path_of,
)


class SelectionSet(Protocol):
    """The fields that an operation selects of one object type."""

    def execute(self, source: Any, place: Place, run: Run, anchor: Anchor) -> dict[str, Any]: ...


class Selections(Protocol):
    """The selection sets below a field, by the type of the object."""

    def of(self, object_type: GraphQLObjectType, run: Run) -> SelectionSet: ...


def completer(
    graphql_type: GraphQLOutputType, field: Field, selections: Selections, schema: GraphQLSchema
) -> Complete:
    required = isinstance(graphql_type, GraphQLNonNull)
    inner: Any = graphql_type.of_type if isinstance(graphql_type, GraphQLNonNull) else graphql_type
    if is_list_type(inner):
        return list_completer(inner, field, required, selections, schema)
    if is_leaf_type(inner):
        return leaf_completer(inner, field, required)
    if is_object_type(inner):
        return object_completer(inner, field, required, selections)
    return abstract_completer(inner, field, required, selections)


def is_nothing(value: Any, field: Field, required: bool) -> bool:
    """Whether ``value`` stands for null; raises if it is an exception, or null where that may not be."""
    if isinstance(value, Exception):
        raise value
    if value is not None and value is not Undefined:
        return False
    if required:
        name = field.nodes[0].name.value
        raise TypeError(f"Cannot return null for non-nullable field {field.parent}.{name}.")
    return True


def leaf_completer(leaf: GraphQLLeafType, field: Field, required: bool) -> Complete:
    def complete(value: Any, place: Place, run: Run, anchor: Anchor) -> Any:
        if is_nothing(value, field, required):
            return None
        return Executor.complete_leaf_value(leaf, value)

    return complete


def object_completer(
    object_type: GraphQLObjectType, field: Field, required: bool, selections: Selections
) -> Complete:
    sure = sure_class(object_type)

    def complete(value: Any, place: Place, run: Run, anchor: Anchor) -> Any:
        if value.__class__ is not sure:
            if is_nothing(value, field, required):
                return None
            check_type(object_type, value, place, run, field)
        return selections.of(object_type, run).execute(value, place, run, anchor)

    return complete


def sure_class(object_type: GraphQLObjectType) -> type | None:
    """The class whose instances need no look to know that they are of ``object_type``."""
    origin = origin_of(object_type)
    if origin is None or not is_plain(origin) or object_type.extensions[BACKREF].is_type_of is not None:
        return None
    return origin


def check_type(object_type: GraphQLObjectType, value: Any, place: Place, run: Run, field: Field) -> None:
    """Refuse a value which is not of ``object_type``."""
    if object_type.is_type_of is None:
        return
    is_one = object_type.is_type_of(value, run.resolve_info(field, field_place(place)))
    if run.is_awaitable(is_one):
        discard(is_one)
        leave_to_core(object_type, value, place, run, field)
    if not is_one:
        raise invalid_return_type_error(object_type, value, field.details)


def abstract_completer(
    abstract: GraphQLAbstractType, field: Field, required: bool, selections: Selections
) -> Complete:
    """An interface or a union: the value says of which object type it is."""

    def complete(value: Any, place: Place, run: Run, anchor: Anchor) -> Any:
        if is_nothing(value, field, required):
            return None
        executor, info = run.executor, run.resolve_info(field, field_place(place))
        name = (abstract.resolve_type or executor.type_resolver)(value, info, abstract)
        if run.is_awaitable(name):
            discard(name)
            leave_to_core(abstract, value, place, run, field)
        object_type = executor.ensure_valid_runtime_type(name, abstract, field.details, info, value)
        check_type(object_type, value, place, run, field)
        return selections.of(object_type, run).execute(value, place, run, anchor)

    return complete


def leave_to_core(output: GraphQLOutputType, value: Any, place: Place, run: Run, field: Field) -> NoReturn:
    """For what is too rare to be worth code of its own: types that are found asynchronously, async iterables."""
    info, path = run.resolve_info(field, field_place(place)), path_of(place)
    assert path is not None
    raise Later(run.executor.complete_value(output, field.details, info, path, value, None))


def list_completer(
    list_type: GraphQLList[Any], field: Field, required: bool, selections: Selections, schema: GraphQLSchema
) -> Complete:
    complete_item = completer(list_type.of_type, field, selections, schema)
    item_required = isinstance(list_type.of_type, GraphQLNonNull)
    plain = plain_classes(schema)
    expected, completed = Expected.of(field, complete_item, item_required)

    def complete(values: Any, place: Place, run: Run, anchor: Anchor) -> Any:
        if values.__class__ is not list:
            if is_nothing(values, field, required):
                return None
            if run.executor.is_async_iterable(values):
                leave_to_core(list_type, values, place, run, field)
            if not is_iterable(values):
                name = f"{field.parent}.{field.nodes[0].name.value}"
                raise GraphQLError(f"Expected Iterable, but did not find one for field '{name}'.")
        result: list[Any] = []
        items = iter(values)
        for index, item in enumerate(items):
            here = (place, index, None)
            try:
                if item.__class__ not in plain and run.is_awaitable(item):
                    result.append(None)
                    run.wait(item, Slot(expected, result, here, anchor))
                else:
                    below = anchor if item_required else (result, index, here)
                    result.append(complete_item(item, here, run, below))
            except Later as later:
                result.append(None)
                run.wait(later.completed, Slot(completed, result, here, anchor))
            except Exception as error:
                if item_required and run.propagates:
                    discard_all(items)
                result.append(run.failed(error, field, here, required=item_required))
        return result

    return complete


def discard_all(items: Iterable[Any]) -> None:
    """Nobody will await what is left of a list that became null."""
    with contextlib.suppress(Exception):
        for item in items:
            discard(item)
