"""Which attributes of its objects a query reads, so that no others need to be loaded."""

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
"""The attributes that are read, by the class of the object."""

_METADATA_KEY = "reads_only"


@runtime_checkable
class NarrowableContext(Protocol):
    """A context that loads only the attributes that its query reads."""

    def narrow_to(self, attributes: Attributes) -> None:
        """Called before the query is executed; not called if it may read any attribute."""


def reads_only(*attributes: str) -> Mapping[str, Collection[str]]:
    """``metadata`` of a field whose resolver reads no other attributes of its object.

    Keys are always loaded. Of the objects that a resolver loads itself, it may read the keys only.
    """
    return {_METADATA_KEY: attributes}


def attributes_read(executor: Executor[Any]) -> Attributes | None:
    """What a query reads; ``None`` if it may read anything: a field has no ``reads_only``, or this is not a query."""
    if executor.operation.operation is not OperationType.QUERY:
        return None
    types = TypeInfo(executor.schema)
    collector = AttributeCollector(executor, types)
    for definition in (executor.operation, *executor.fragment_definitions.values()):
        visit(definition, TypeInfoVisitor(types, collector))
    if collector.reads_anything:
        return None
    return {cls: frozenset(names) for cls, names in collector.attributes.items()}


class AttributeCollector(Visitor):
    """Collects the attributes that the fields of a document read."""

    def __init__(self, executor: Executor[Any], types: TypeInfo) -> None:
        super().__init__()
        self._schema = executor.schema
        self._types = types
        self.attributes: defaultdict[Any, set[str]] = defaultdict(set)
        self.reads_anything = False

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        parent = self._types.get_parent_type()
        assert parent is not None
        for object_type in self._schema.get_possible_types(parent) if is_abstract_type(parent) else (parent,):
            field = self._schema.get_field(object_type, node.name.value)
            names = attributes_of(field) if field is not None else ()
            if names is None:
                self.reads_anything = True
            else:
                self.attributes[origin_of(object_type)].update(names)


def attributes_of(field: GraphQLField) -> Collection[str] | None:
    """The attributes that a field reads; ``None``: any."""
    definition = field.extensions.get(BACKREF)
    if not isinstance(definition, StrawberryField):
        return ()  # a field of the introspection
    if definition.is_basic_field or definition.python_name == "_id":
        return (definition.python_name,)
    metadata: Mapping[Any, Any] = definition.metadata or {}
    return metadata.get(_METADATA_KEY)
