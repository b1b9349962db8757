"""What a query looks at of the objects it meets, so that no more of them need to be read from the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from graphql import (
    FieldNode,
    GraphQLField,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    is_abstract_type,
    visit,
)
from graphql.execution import Executor
from strawberry.types.field import StrawberryField

from app.compiled_graphql.leaves import BACKREF, origin_of

Attributes: TypeAlias = Mapping[type, frozenset[str]]
"""The attributes which are looked at, by the class of the object."""

_PROMISE = "reads"


@runtime_checkable
class Forewarned(Protocol):
    """A context which is told what a query will look at, before it begins."""

    def expect(self, attributes: Attributes) -> None: ...


def reads_only(*attributes: str) -> Mapping[str, Collection[str]]:
    """``metadata`` of a field which promises that its resolver looks at no other attributes of its object.

    Keys are always there. Of objects which it loads, a resolver may look at those only.
    """
    return {_PROMISE: attributes}


def attributes_read(executor: Executor[Any]) -> Attributes | None:
    """``None`` if the operation may look at anything: a field promises nothing, or it is no query."""
    if executor.operation.operation is not OperationType.QUERY:
        return None
    types = TypeInfo(executor.schema)
    fields = Fields(executor, types)
    for definition in (executor.operation, *executor.fragment_definitions.values()):
        visit(definition, TypeInfoVisitor(types, fields))
    if fields.without_promise:
        return None
    return {cls: frozenset(names) for cls, names in fields.attributes.items()}


class Fields(Visitor):
    """Gathers what the fields of a document look at."""

    def __init__(self, executor: Executor[Any], types: TypeInfo) -> None:
        super().__init__()
        self._schema = executor.schema
        self._types = types
        self.attributes: defaultdict[Any, set[str]] = defaultdict(set)
        self.without_promise = False

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        parent = self._types.get_parent_type()
        assert parent is not None
        for object_type in self._schema.get_possible_types(parent) if is_abstract_type(parent) else (parent,):
            field = self._schema.get_field(object_type, node.name.value)
            names = promised(field) if field is not None else ()
            if names is None:
                self.without_promise = True
            else:
                self.attributes[origin_of(object_type)].update(names)


def promised(field: GraphQLField) -> Collection[str] | None:
    """The attributes which a field may look at; ``None``: any."""
    definition = field.extensions.get(BACKREF)
    if not isinstance(definition, StrawberryField):
        return ()  # of the introspection
    if definition.is_basic_field or definition.python_name == "_id":
        return (definition.python_name,)
    metadata: Mapping[Any, Any] = definition.metadata or {}
    return metadata.get(_PROMISE)
