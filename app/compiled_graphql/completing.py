"""Value completion, as the specification calls it: from the value of a resolver to what the response shows."""

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

from app.compiled_graphql.execution import (
    AwaitedValue,
    Complete,
    CompletedByCore,
    Completion,
    Execution,
    NullTarget,
    ResponsePath,
    SelectedField,
    core_path,
    discard,
    field_path,
)
from app.compiled_graphql.leaves import BACKREF, is_plain, origin_of, plain_classes


class ObjectSelection(Protocol):
    """The fields that a selection set selects of one object type."""

    def execute(
        self, source: Any, path: ResponsePath, execution: Execution, null_target: NullTarget
    ) -> dict[str, Any]: ...


class ObjectSelections(Protocol):
    """What the selection set of a field selects, by the type of the object."""

    def of(self, object_type: GraphQLObjectType, execution: Execution) -> ObjectSelection: ...


def completer(
    graphql_type: GraphQLOutputType, field: SelectedField, selections: ObjectSelections, schema: GraphQLSchema
) -> Complete:
    """The function that completes the values of ``graphql_type``, the type of a field or of its list items."""
    required = isinstance(graphql_type, GraphQLNonNull)
    inner: Any = graphql_type.of_type if isinstance(graphql_type, GraphQLNonNull) else graphql_type
    if is_list_type(inner):
        return list_completer(inner, field, required, selections, schema)
    if is_leaf_type(inner):
        return leaf_completer(inner, field, required)
    if is_object_type(inner):
        return object_completer(inner, field, required, selections)
    return abstract_completer(inner, field, required, selections)


def is_nothing(value: Any, field: SelectedField, required: bool) -> bool:
    """Whether ``value`` means null; raises it if it is an exception, and ``TypeError`` for a forbidden null."""
    if isinstance(value, Exception):
        raise value
    if value is not None and value is not Undefined:
        return False
    if required:
        name = field.nodes[0].name.value
        raise TypeError(f"Cannot return null for non-nullable field {field.parent}.{name}.")
    return True


def leaf_completer(leaf: GraphQLLeafType, field: SelectedField, required: bool) -> Complete:
    def complete(value: Any, path: ResponsePath, execution: Execution, null_target: NullTarget) -> Any:
        if is_nothing(value, field, required):
            return None
        return Executor.complete_leaf_value(leaf, value)

    return complete


def object_completer(
    object_type: GraphQLObjectType, field: SelectedField, required: bool, selections: ObjectSelections
) -> Complete:
    expected_class = exact_class(object_type)

    def complete(value: Any, path: ResponsePath, execution: Execution, null_target: NullTarget) -> Any:
        if value.__class__ is not expected_class:
            if is_nothing(value, field, required):
                return None
            check_type(object_type, value, path, execution, field)
        return selections.of(object_type, execution).execute(value, path, execution, null_target)

    return complete


def exact_class(object_type: GraphQLObjectType) -> type | None:
    """The class whose instances are of ``object_type`` without a check; ``None`` if every value needs one."""
    origin = origin_of(object_type)
    if origin is None or not is_plain(origin) or object_type.extensions[BACKREF].is_type_of is not None:
        return None
    return origin


def check_type(
    object_type: GraphQLObjectType, value: Any, path: ResponsePath, execution: Execution, field: SelectedField
) -> None:
    """Raise if ``value`` is not of ``object_type``."""
    if object_type.is_type_of is None:
        return
    is_instance = object_type.is_type_of(value, execution.resolve_info(field, field_path(path)))
    if execution.is_awaitable(is_instance):
        discard(is_instance)
        leave_to_core(object_type, value, path, execution, field)
    if not is_instance:
        raise invalid_return_type_error(object_type, value, field.details)


def abstract_completer(
    abstract: GraphQLAbstractType, field: SelectedField, required: bool, selections: ObjectSelections
) -> Complete:
    """For an interface or a union: the value decides the object type."""

    def complete(value: Any, path: ResponsePath, execution: Execution, null_target: NullTarget) -> Any:
        if is_nothing(value, field, required):
            return None
        executor, info = execution.executor, execution.resolve_info(field, field_path(path))
        name = (abstract.resolve_type or executor.type_resolver)(value, info, abstract)
        if execution.is_awaitable(name):
            discard(name)
            leave_to_core(abstract, value, path, execution, field)
        object_type = executor.ensure_valid_runtime_type(name, abstract, field.details, info, value)
        check_type(object_type, value, path, execution, field)
        return selections.of(object_type, execution).execute(value, path, execution, null_target)

    return complete


def leave_to_core(
    output: GraphQLOutputType, value: Any, path: ResponsePath, execution: Execution, field: SelectedField
) -> NoReturn:
    """Let graphql-core complete a value: one whose type is resolved asynchronously, or an async iterable."""
    info, converted = execution.resolve_info(field, field_path(path)), core_path(path)
    assert converted is not None
    raise CompletedByCore(
        execution.executor.complete_value(output, field.details, info, converted, value, None)
    )


def list_completer(
    list_type: GraphQLList[Any],
    field: SelectedField,
    required: bool,
    selections: ObjectSelections,
    schema: GraphQLSchema,
) -> Complete:
    complete_item = completer(list_type.of_type, field, selections, schema)
    item_required = isinstance(list_type.of_type, GraphQLNonNull)
    plain = plain_classes(schema)
    completion, completed = Completion.of(field, complete_item, item_required)

    def complete(values: Any, path: ResponsePath, execution: Execution, null_target: NullTarget) -> Any:
        if values.__class__ is not list:
            if is_nothing(values, field, required):
                return None
            if execution.executor.is_async_iterable(values):
                leave_to_core(list_type, values, path, execution, field)
            if not is_iterable(values):
                name = f"{field.parent}.{field.nodes[0].name.value}"
                raise GraphQLError(f"Expected Iterable, but did not find one for field '{name}'.")
        result: list[Any] = []
        items = iter(values)
        for index, item in enumerate(items):
            item_path = (path, index, None)
            try:
                if item.__class__ not in plain and execution.is_awaitable(item):
                    result.append(None)
                    execution.track(item, AwaitedValue(completion, result, item_path, null_target))
                else:
                    item_target = null_target if item_required else (result, index, item_path)
                    result.append(complete_item(item, item_path, execution, item_target))
            except CompletedByCore as by_core:
                result.append(None)
                execution.track(by_core.completed, AwaitedValue(completed, result, item_path, null_target))
            except Exception as error:
                if item_required and execution.propagates:
                    discard_all(items)
                result.append(execution.failed(error, field, item_path, required=item_required))
        return result

    return complete


def discard_all(items: Iterable[Any]) -> None:
    """Discard the remaining items of a list that became null."""
    with contextlib.suppress(Exception):
        for item in items:
            discard(item)
