"""Makes random valid operations for any schema; the same seed makes the same operation."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_input_object_type,
    is_object_type,
    is_required_argument,
    is_required_input_field,
)

Literals = Mapping[str, Callable[[random.Random], str]]
"""Functions that make a literal of a scalar, by its name."""

LITERALS: Literals = {
    "Int": lambda chance: str(chance.choice([0, 1, 2, 3, 7])),
    "Float": lambda chance: chance.choice(["0.5", "2", "-1.25"]),
    "Boolean": lambda chance: chance.choice(["true", "false"]),
    "String": lambda chance: json.dumps(chance.choice(["", "a", "penguins", "ä"])),
    "ID": lambda chance: json.dumps(chance.choice(["1", "x"])),
}


class Operations:
    """Makes operations of one kind ("query" or "mutation")."""

    def __init__(
        self, schema: GraphQLSchema, literals: Literals = LITERALS, *, depth: int = 4, width: int = 4
    ) -> None:
        self._schema = schema
        self._literals = literals
        self._depth = depth
        self._width = width

    def make(self, seed: int, kind: str = "query") -> tuple[str, dict[str, Any]]:
        """A document of one operation, and values for its variables."""
        return _Document(self._schema, self._literals, self._width, seed).make(kind, self._depth)


class _Document:
    def __init__(self, schema: GraphQLSchema, literals: Literals, width: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._schema = schema
        self._literals = literals
        self._width = width
        self._variables: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._fragments: list[str] = []

    def make(self, kind: str, depth: int) -> tuple[str, dict[str, Any]]:
        root = self._schema.mutation_type if kind == "mutation" else self._schema.query_type
        assert root is not None
        selections = self._selections(root, depth)
        declared = " ".join(self._variables.values())
        head = f"{kind} Random({declared})" if declared else kind
        return "\n".join([f"{head} {{ {selections} }}", *self._fragments]), self._values

    def _selections(self, parent: GraphQLNamedType, depth: int) -> str:
        parts = [self._selection(parent, depth) for _ in range(self._chance.randint(1, self._width))]
        return " ".join(part for part in parts if part) or "__typename"

    def _selection(self, parent: GraphQLNamedType, depth: int) -> str:
        draw = self._chance.random()
        if draw < 0.07:
            return "__typename"
        if draw < 0.2 and depth > 0:
            return self._inline_fragment(parent, depth)
        if draw < 0.27 and depth > 0:
            return self._named_fragment(parent, depth)
        fields = getattr(parent, "fields", None)
        if fields is None:
            return self._inline_fragment(parent, depth)
        name = self._chance.choice(sorted(fields))
        return self._field(name, fields[name], depth)

    def _field(self, name: str, field: GraphQLField, depth: int) -> str:
        output = get_named_type(field.type)
        below = ""
        if is_composite_type(output):
            if depth <= 0:
                return ""
            below = f" {{ {self._selections(output, depth - 1)} }}"
        arguments = self._arguments(field.args)
        # The alias says everything the field depends on: equal names would have to merge.
        alias = f"{name}_{self._chance.randrange(10**6)}: " if arguments or below or self._often(0.2) else ""
        return f"{alias}{name}{arguments}{self._directives()}{below}"

    def _inline_fragment(self, parent: GraphQLNamedType, depth: int) -> str:
        condition = self._condition(parent)
        on = "" if condition is parent and self._often(0.5) else f" on {condition.name}"
        return f"...{on}{self._directives()} {{ {self._selections(condition, depth - 1)} }}"

    def _named_fragment(self, parent: GraphQLNamedType, depth: int) -> str:
        condition = self._condition(parent)
        selections = self._selections(condition, depth - 1)
        name = f"Part{len(self._fragments)}"
        self._fragments.append(f"fragment {name} on {condition.name} {{ {selections} }}")
        spread = f"...{name}{self._directives()}"
        return f"{spread} {spread}" if self._often(0.2) else spread

    def _condition(self, parent: GraphQLNamedType) -> GraphQLNamedType:
        """A type that some objects of ``parent`` have."""
        types: list[GraphQLNamedType] = [parent]
        if is_abstract_type(parent):
            types += sorted(self._schema.get_possible_types(parent), key=lambda possible: possible.name)
        elif is_object_type(parent):
            types += parent.interfaces
        return self._chance.choice(types)

    def _directives(self) -> str:
        if not self._often(0.12):
            return ""
        condition = self._argument_value(GraphQLNonNull(self._schema.type_map["Boolean"]))
        return f" @{self._chance.choice(['skip', 'include'])}(if: {condition})"

    def _arguments(self, arguments: Mapping[str, GraphQLArgument]) -> str:
        given = []
        for name, argument in arguments.items():
            if is_required_argument(argument) or self._often(0.4):
                given.append(f"{name}: {self._argument_value(argument.type)}")
        return f"({', '.join(given)})" if given else ""

    def _argument_value(self, wanted: GraphQLInputType) -> str:
        literal = self._literal(wanted)
        named = get_named_type(wanted)
        if named.name not in ("Int", "String", "Boolean", "ID") or not self._often(0.4):
            return literal
        name = f"v{len(self._variables)}"
        with_default = self._often(0.4)
        self._variables[name] = f"${name}: {wanted}" + (f" = {literal}" if with_default else "")
        if not with_default or self._often(0.5):
            self._values[name] = json.loads(self._literal(wanted))
        return f"${name}"

    def _literal(self, wanted: GraphQLInputType) -> str:
        if isinstance(wanted, GraphQLNonNull):
            return self._given(wanted.of_type)
        return "null" if self._often(0.1) else self._given(wanted)

    def _given(self, wanted: Any) -> str:
        if isinstance(wanted, GraphQLList):
            return f"[{', '.join(self._literal(wanted.of_type) for _ in range(self._chance.randrange(3)))}]"
        if isinstance(wanted, GraphQLEnumType):
            return self._chance.choice(sorted(wanted.values))
        if isinstance(wanted, GraphQLInputObjectType):
            return self._object(wanted)
        make = self._literals.get(wanted.name)
        return make(self._chance) if make else "null"

    def _object(self, wanted: GraphQLInputObjectType) -> str:
        parts = []
        for name, field in wanted.fields.items():
            if is_required_input_field(field) or (
                self._often(0.3) and not is_input_object_type(get_named_type(field.type))
            ):
                parts.append(f"{name}: {self._literal(field.type)}")
        return "{" + ", ".join(parts) + "}"

    def _often(self, share: float) -> bool:
        return self._chance.random() < share
