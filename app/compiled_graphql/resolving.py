"""How a field gets its value: by a direct call where its definition allows one, else exactly as in graphql-core."""

from __future__ import annotations

import uuid
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, TypeAlias

import strawberry
from graphql import GraphQLSchema, get_named_type, is_input_object_type
from graphql.execution.values import get_argument_values
from strawberry import relay
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from app.compiled_graphql.arguments import Arguments
from app.compiled_graphql.execution import Execution, ResponsePath, SelectedField
from app.compiled_graphql.info import LazyInfo
from app.compiled_graphql.leaves import BACKREF, origin_of

Resolve: TypeAlias = Callable[[Any, ResponsePath, Execution], Any]
"""(object, path of the field, execution) -> value of the field, or an awaitable of it."""


def attribute_of(field: SelectedField, schema: GraphQLSchema) -> str | None:
    """The attribute that the field shows, if it does nothing else."""
    definition = strawberry_field(field, schema)
    if definition is None or not definition.is_basic_field or definition.is_subscription:
        return None
    return definition.python_name if definition.default_resolver is getattr else None


def resolver(field: SelectedField, schema: GraphQLSchema) -> Resolve:
    """The function that resolves a field."""
    definition = strawberry_field(field, schema)
    if definition is None or definition.base_resolver is None or not is_direct(definition, field, schema):
        return by_graphql_core(field)
    direct = direct_call(field, definition, definition.base_resolver, schema)
    return global_id(field, definition.base_resolver, direct) or direct


def strawberry_field(field: SelectedField, schema: GraphQLSchema) -> StrawberryField | None:
    """Strawberry's definition of a field, unless a subclass or an exception handler changes what it does."""
    definition = field.definition.extensions.get(BACKREF)
    if not isinstance(definition, StrawberryField):
        return None
    usual = type(definition).get_result is StrawberryField.get_result
    return definition if usual and not converter(schema).exception_handlers else None


def converter(schema: GraphQLSchema) -> Any:
    return schema.extensions[BACKREF].schema_converter


def is_direct(definition: StrawberryField, field: SelectedField, schema: GraphQLSchema) -> bool:
    """Whether the resolver may be called without Strawberry's wrappers.

    Extensions, which include permissions, need the wrappers. So do input objects, which may convert their values; they
    are arguments of root fields, where the wrappers cost nothing that matters.
    """
    named = (get_named_type(argument.type) for argument in field.definition.args.values())
    return (
        not definition.extensions
        and not definition.is_subscription
        and converter(schema).config.info_class is strawberry.Info
        and not any(is_input_object_type(argument) for argument in named)
    )


def by_graphql_core(field: SelectedField) -> Resolve:
    """Calls the schema's own resolver, with the info and the arguments that graphql-core passes."""
    resolve_field = field.definition.resolve
    node, fragment_values = field.nodes[0], field.details[0].fragment_variable_values
    takes_arguments = bool(field.definition.args or node.arguments)

    def resolve(source: Any, path: ResponsePath, execution: Execution) -> Any:
        executor = execution.executor
        info = execution.resolve_info(field, path)
        values = {}
        if takes_arguments:
            values = get_argument_values(
                field.definition, node, executor.variable_values, fragment_values, executor.hide_suggestions
            )
        return (resolve_field or executor.field_resolver)(source, info, **values)

    return resolve


def direct_call(
    field: SelectedField,
    definition: StrawberryField,
    resolver: StrawberryResolver[Any],
    schema: GraphQLSchema,
) -> Resolve:
    """Calls the Python function of the resolver, with the parameters that its signature has."""
    function: Callable[..., Any] = resolver.wrapped_func  # type: ignore[assignment]
    sources = [
        parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter
    ]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    arguments = Arguments(field, definition, converter(schema)) if field.definition.args else None
    takes_self = resolver.self_parameter is not None

    def resolve_with_info(source: Any, path: ResponsePath, execution: Execution) -> Any:
        return function(source, LazyInfo(field, definition, path, execution))

    if takes_self and [*resolver.signature.parameters] == ["self", info_name]:
        return resolve_with_info

    def resolve(source: Any, path: ResponsePath, execution: Execution) -> Any:
        keywords = arguments.for_execution(execution) if arguments is not None else {}
        for name in sources:
            keywords[name] = source
        if info_name is not None:
            keywords[info_name] = LazyInfo(field, definition, path, execution)
        return function(source, **keywords) if takes_self else function(**keywords)

    return resolve


def global_id(field: SelectedField, resolver: StrawberryResolver[Any], otherwise: Resolve) -> Resolve | None:
    """Makes the ``id`` of a relay node without a ``GlobalID`` object; ``None`` for any other field."""
    cls = origin_of(field.parent)
    if cls is None or not issubclass(cls, relay.Node) or not has_usual_id(cls, resolver):
        return None
    attribute, prefix = cls.resolve_id_attr(), f"{field.parent.name}:"

    def resolve(source: Any, path: ResponsePath, execution: Execution) -> Any:
        if source.__class__ is cls:
            key = getattr(source, attribute)
            if isinstance(key, (uuid.UUID, str, int)):
                return b2a_base64(f"{prefix}{key}".encode(), newline=False).decode("ascii")
        return otherwise(source, path, execution)

    return resolve


def has_usual_id(cls: type[relay.Node], resolver: StrawberryResolver[Any]) -> bool:
    node = get_object_definition(relay.Node, strict=True)
    [usual] = [field.base_resolver for field in node.fields if field.name == "_id"]
    return (
        usual is not None
        and unbound(resolver.wrapped_func) is unbound(usual.wrapped_func)
        and unbound(cls.resolve_id) is unbound(relay.Node.resolve_id)
        and unbound(cls.resolve_typename) is unbound(relay.Node.resolve_typename)
    )


def unbound(function: Any) -> Any:
    return getattr(function, "__func__", function)
