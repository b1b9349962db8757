"""The limits of an operation, checked before validation in one pass over the document.

The cost is the greatest number of objects that the response may contain. The size of a list is its ``first``, ``last``,
``maxPoints`` or ``ids`` argument, from the document, the variables or the schema's default; other lists count as
``UNSIZED_LIST`` items. A piece of a log counts as one object per KiB. Each fragment is measured once, however often it
is spread, so the time is linear in the size of the document; measuring every spread would double it with each nested
fragment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

from app.graphql.shared.connections import DEFAULT_PAGE

MAX_DEPTH = 12
MAX_ALIASES = 30
MAX_COST = 15_000
MAX_TOKENS = 2000
MAX_SOURCE_LENGTH = 20_000
MAX_OPERATIONS = 5
UNSIZED_LIST = 5

_SIZE_ARGUMENTS = ("first", "last", "maxPoints", "ids")
_BYTES_ARGUMENT = "maxBytes"
_BYTES_PER_OBJECT = 1024
_LARGEST_SIZE = 2000
_LARGEST_COST = 10**12


@dataclass(frozen=True, slots=True)
class Weight:
    """The cost of a selection: ``fixed`` objects, and ``per_item`` objects for each item of its lists without a size.

    Such a list has the size of the page that contains it. ``heaviest`` is the path of the list with the greatest cost.
    """

    fixed: int = 0
    per_item: int = 0
    depth: int = 0
    aliases: int = 0
    heaviest: tuple[str, ...] = ()
    heaviest_cost: int = 0


def check_document(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]
) -> int:
    """The cost of the operation; raises ``GraphQLError`` if the operation or the document exceeds a limit."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > MAX_OPERATIONS:
        raise too_expensive(
            f"The document has {len(operations)} operations; at most {MAX_OPERATIONS} are allowed."
        )
    if len(operations) > 1 and operation_name is None:
        raise GraphQLError("The document has several operations: name the one to execute in operationName.")
    wanted = [node for node in operations if operation_name in (None, node.name and node.name.value)]
    try:
        weights = [OperationWeigher(schema, document, operation, variables).weigh() for operation in wanted]
    except RecursionError:
        raise too_expensive("The query is nested too deeply.") from None
    for weight in weights:
        check_weight(weight)
    return max((weight.fixed for weight in weights), default=0)


def check_weight(weight: Weight) -> None:
    """Raise ``GraphQLError`` if the weight of an operation exceeds a limit."""
    if weight.depth > MAX_DEPTH:
        raise too_expensive(f"The query is {weight.depth} levels deep; at most {MAX_DEPTH} are allowed.")
    if weight.aliases > MAX_ALIASES:
        raise too_expensive(f"The query has {weight.aliases} aliases; at most {MAX_ALIASES} are allowed.")
    if weight.fixed > MAX_COST:
        costliest = ".".join(weight.heaviest)
        raise too_expensive(
            f"The query may return {weight.fixed} objects; at most {MAX_COST} are allowed. Ask for fewer:"
            f" most of them are in {costliest}.",
            cost=weight.fixed,
            costliestField=costliest,
        )


def too_expensive(message: str, **details: Any) -> GraphQLError:
    """The error of an operation that exceeds a limit."""
    return GraphQLError(message, extensions={"code": "QUERY_TOO_EXPENSIVE", "limit": MAX_COST, **details})


class OperationWeigher:
    """Weighs one operation of a document."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._variables = {**variable_defaults(operation), **variables}
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._weighed: dict[str, Weight | None] = {}

    def weigh(self) -> Weight:
        """The weight of the whole operation."""
        root = self._schema.get_root_type(self._operation.operation)
        weight = self._selection(self._operation.selection_set, root)
        return replace(weight, fixed=bounded(weight.fixed + weight.per_item * UNSIZED_LIST))

    def _selection(self, selection: SelectionSetNode, parent: GraphQLNamedType | None) -> Weight:
        total = Weight()
        for node in selection.selections:
            total = combined(total, self._node(node, parent))
        return total

    def _node(self, node: SelectionNode, parent: GraphQLNamedType | None) -> Weight:
        if isinstance(node, FieldNode):
            return self._field(node, parent)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node)
        assert isinstance(node, InlineFragmentNode)
        condition = node.type_condition
        return self._selection(
            node.selection_set, self._schema.get_type(condition.name.value) if condition else parent
        )

    def _fragment(self, spread: FragmentSpreadNode) -> Weight:
        name = spread.name.value
        fragment = self._fragments.get(name)
        if fragment is None:
            return Weight()
        if name not in self._weighed:
            self._weighed[name] = None
            condition = self._schema.get_type(fragment.type_condition.name.value)
            self._weighed[name] = self._selection(fragment.selection_set, condition)
        weight = self._weighed[name]
        if weight is None:
            raise GraphQLError(f"The fragment {name} contains itself.", spread)
        return weight

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Weight:
        aliases = int(node.alias is not None)
        if node.selection_set is None:
            return Weight(depth=1, aliases=aliases)
        field = field_of(parent, node.name.value)
        below = self._selection(node.selection_set, get_named_type(field.type) if field else None)
        if field is None:
            # Introspection, whose depth graphql-core limits, or a field that validation refuses.
            return Weight(depth=1, aliases=aliases + below.aliases)
        return self._objects(node, field, replace(below, aliases=aliases + below.aliases))

    def _objects(self, node: FieldNode, field: GraphQLField, below: Weight) -> Weight:
        """The weight of a field whose value is an object, a page of objects or a list of objects."""
        size = self._size(node, field)
        is_list = is_list_type(get_nullable_type(field.type))
        items = UNSIZED_LIST if is_list or size is None else size
        each = bounded(1 + self._bytes(node, field) + below.fixed + below.per_item * items)
        fixed, per_item = each, 0
        if is_list:
            fixed, per_item = (0, each) if size is None else (bounded(each * size), 0)
        is_many = is_list or size is not None
        return Weight(
            fixed=fixed,
            per_item=per_item,
            depth=1 + below.depth,
            aliases=below.aliases,
            heaviest=(node.name.value, *below.heaviest) if below.heaviest or is_many else (),
            heaviest_cost=bounded(fixed + per_item * UNSIZED_LIST),
        )

    def _bytes(self, node: FieldNode, field: GraphQLField) -> int:
        """The number of objects that the field's bytes count as."""
        if _BYTES_ARGUMENT not in field.args:
            return 0
        size = self._argument(node, field, _BYTES_ARGUMENT)
        return max(0, min(size, _LARGEST_COST)) // _BYTES_PER_OBJECT if isinstance(size, int) else 0

    def _argument(self, node: FieldNode, field: GraphQLField, name: str) -> Any:
        for argument in node.arguments or ():
            if argument.name.value == name:
                return self._value(argument.value)
        return field.args[name].default_value

    def _size(self, node: FieldNode, field: GraphQLField) -> int | None:
        """The number of items that the arguments ask for; ``None`` if the field has no such argument."""
        names = [name for name in _SIZE_ARGUMENTS if name in field.args]
        if not names:
            return None
        values = [self._argument(node, field, name) for name in names]
        return max((size for value in values if (size := size_of(value)) is not None), default=DEFAULT_PAGE)

    def _value(self, node: ValueNode) -> Any:
        return self._variables.get(node.name.value) if isinstance(node, VariableNode) else literal_value(node)


def variable_defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    """The default values of the variables, as far as they can be sizes."""
    return {
        definition.variable.name.value: literal_value(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }


def literal_value(node: ValueNode) -> Any:
    """The value of a literal that can be a size: an integer, or a list of the same length; else ``None``."""
    if isinstance(node, IntValueNode):
        return int(node.value[:12])
    return [None] * len(node.values) if isinstance(node, ListValueNode) else None


def size_of(value: Any) -> int | None:
    """The size of a list that an argument with this value asks for."""
    if isinstance(value, list):
        return min(len(value), _LARGEST_SIZE)
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, min(value, _LARGEST_SIZE))
    return None


def field_of(parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    return parent.fields.get(name) if isinstance(parent, (GraphQLObjectType, GraphQLInterfaceType)) else None


def combined(one: Weight, other: Weight) -> Weight:
    """The total weight of two parts of the same selection."""
    heavier = other if other.heaviest_cost > one.heaviest_cost else one
    return Weight(
        fixed=bounded(one.fixed + other.fixed),
        per_item=bounded(one.per_item + other.per_item),
        depth=max(one.depth, other.depth),
        aliases=bounded(one.aliases + other.aliases),
        heaviest=heavier.heaviest,
        heaviest_cost=heavier.heaviest_cost,
    )


def bounded(number: int) -> int:
    """Bound a number that may grow exponentially, so that computing with it stays cheap."""
    return min(number, _LARGEST_COST)
