"""How a field gets its value: as directly as its definition allows, else by graphql-core's rules to the letter."""

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
from app.compiled_graphql.info import LazyInfo
from app.compiled_graphql.leaves import BACKREF, origin_of
from app.compiled_graphql.running import Field, Place, Run

Resolve: TypeAlias = Callable[[Any, Place, Run], Any]
"""(object, place of the field, run) -> value of the field, which may have to be awaited."""


def attribute_of(field: Field, schema: GraphQLSchema) -> str | None:
    """The attribute which the field shows, if it does just that."""
    definition = strawberry_field(field, schema)
    if definition is None or not definition.is_basic_field or definition.is_subscription:
        return None
    return definition.python_name if definition.default_resolver is getattr else None


def resolver(field: Field, schema: GraphQLSchema) -> Resolve:
    definition = strawberry_field(field, schema)
    if definition is None or definition.base_resolver is None or not is_direct(definition, field, schema):
        return by_rules(field)
    direct = direct_call(field, definition, definition.base_resolver, schema)
    return global_id(field, definition.base_resolver, direct) or direct


def strawberry_field(field: Field, schema: GraphQLSchema) -> StrawberryField | None:
    """Strawberry's definition, if nothing but its own code decides what the field does."""
    definition = field.definition.extensions.get(BACKREF)
    if not isinstance(definition, StrawberryField):
        return None
    usual = type(definition).get_result is StrawberryField.get_result
    return definition if usual and not converter(schema).exception_handlers else None


def converter(schema: GraphQLSchema) -> Any:
    return schema.extensions[BACKREF].schema_converter


def is_direct(definition: StrawberryField, field: Field, schema: GraphQLSchema) -> bool:
    """Whether the resolver may be called without Strawberry's wrappers.

    Not with extensions (permissions are some). Not with input objects either, which may build their own values; they
    are arguments of roots, where a wrapper more does not matter.
    """
    named = (get_named_type(argument.type) for argument in field.definition.args.values())
    return (
        not definition.extensions
        and not definition.is_subscription
        and converter(schema).config.info_class is strawberry.Info
        and not any(is_input_object_type(argument) for argument in named)
    )


def by_rules(field: Field) -> Resolve:
    """Call what the schema holds as the resolver, with everything graphql-core gives it."""
    resolve_field = field.definition.resolve
    node, fragment_values = field.nodes[0], field.details[0].fragment_variable_values
    takes_arguments = bool(field.definition.args or node.arguments)

    def resolve(source: Any, place: Place, run: Run) -> Any:
        executor = run.executor
        info = run.resolve_info(field, place)
        values = {}
        if takes_arguments:
            values = get_argument_values(
                field.definition, node, executor.variable_values, fragment_values, executor.hide_suggestions
            )
        return (resolve_field or executor.field_resolver)(source, info, **values)

    return resolve


def direct_call(
    field: Field, definition: StrawberryField, resolver: StrawberryResolver[Any], schema: GraphQLSchema
) -> Resolve:
    """Call the Python function itself, with what its signature asks for."""
    function: Callable[..., Any] = resolver.wrapped_func  # type: ignore[assignment]
    sources = [
        parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter
    ]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    arguments = Arguments(field, definition, converter(schema)) if field.definition.args else None
    takes_self = resolver.self_parameter is not None

    def resolve_link(source: Any, place: Place, run: Run) -> Any:
        return function(source, LazyInfo(field, definition, place, run))

    if takes_self and [*resolver.signature.parameters] == ["self", info_name]:
        return resolve_link

    def resolve(source: Any, place: Place, run: Run) -> Any:
        keywords = arguments.given(run) if arguments is not None else {}
        for name in sources:
            keywords[name] = source
        if info_name is not None:
            keywords[info_name] = LazyInfo(field, definition, place, run)
        return function(source, **keywords) if takes_self else function(**keywords)

    return resolve


def global_id(field: Field, resolver: StrawberryResolver[Any], otherwise: Resolve) -> Resolve | None:
    """The ``id`` of a relay node, without the objects it otherwise goes through; ``None`` for other fields."""
    cls = origin_of(field.parent)
    if cls is None or not issubclass(cls, relay.Node) or not has_usual_id(cls, resolver):
        return None
    attribute, prefix = cls.resolve_id_attr(), f"{field.parent.name}:"

    def resolve(source: Any, place: Place, run: Run) -> Any:
        if source.__class__ is cls:
            key = getattr(source, attribute)
            if isinstance(key, (uuid.UUID, str, int)):
                return b2a_base64(f"{prefix}{key}".encode(), newline=False).decode("ascii")
        return otherwise(source, place, run)

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
