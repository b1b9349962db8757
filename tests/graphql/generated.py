"""Generates operations out of the schema: valid in their types, hostile in their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import graphql as g
from hypothesis import strategies as st
from hypothesis_graphql import nodes

Values = st.SearchStrategy[Any]

SAFE_COMMANDS = [
    ["true"],
    ["false"],
    "true",
    "exit 3",
    ["sh", "-c", "echo made by a test"],
    ["no-such-program"],
]
WRONG_COMMANDS: list[Any] = [[], "", None, 5, [5], ["true", "\0"], {"true": 1}]
HOSTILE_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\u202e",
    "\ufeff",
    "ß" * 300,
    "x" * 5000,
    "'; --",
    "%s%n",
    "../../etc/passwd",
]
HOSTILE_NUMBERS = [0, -1, 1, 2, 200, 201, 2**31 - 1, -(2**31)]
LARGE_NUMBERS = [2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400]
DATES = [
    "2026-11-23T12:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+23:59",
    "2026-02-30",
    "",
    "now",
]

texts = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=20)
small_numbers = st.sampled_from(HOSTILE_NUMBERS) | st.integers(0, 5)
numbers = small_numbers | st.sampled_from(LARGE_NUMBERS)
commands = st.sampled_from([*SAFE_COMMANDS, *WRONG_COMMANDS])
leaves = texts | numbers | st.booleans() | st.none() | st.sampled_from([0.5, -0.0, 1e308, 5e-324])
any_json = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
# Some settings of a stage; a command is never generated, because the server executes it.
settings = st.fixed_dictionaries(
    {},
    optional={
        "command": commands,
        "params": any_json,
        "env": any_json,
        "timeout": leaves,
        "retries": leaves | st.fixed_dictionaries({}, optional={"limit": numbers, "delay": leaves}),
        "resources": leaves | st.fixed_dictionaries({}, optional={"cpus": leaves, "memoryMb": leaves}),
        "concurrency": any_json,
        "priority": leaves,
        "queueTimeout": leaves,
        "stages": any_json,
    },
)
json_values = settings.filter(lambda value: "command" not in str(value.get("stages"))) | any_json.filter(
    lambda value: "command" not in str(value)
)


class Generator:
    """Operations on one schema; ``ids`` are those of existing nodes."""

    def __init__(self, schema: g.GraphQLSchema, ids: Sequence[str]) -> None:
        self.schema = schema
        known = st.sampled_from(list(ids))
        self._scalars: Mapping[str, Values] = {
            "ID": known | known | texts,
            "String": texts | known,
            "Int": small_numbers,
            "Float": leaves,
            "Boolean": st.booleans(),
            "BigInt": numbers | numbers.map(lambda number: str(number)[:50]),
            "DateTime": st.sampled_from(DATES) | texts,
            "MetricValue": leaves | st.sampled_from(["NaN", "Infinity", "-Infinity"]),
            "JSON": json_values,
        }

    def literals(self) -> dict[str, st.SearchStrategy[g.ValueNode]]:
        """The scalars as they are written in documents."""
        return {name: values.map(literal) for name, values in self._scalars.items() if name != "Boolean"}

    def with_variables(self, root: g.GraphQLObjectType, operation: str) -> Values:
        """``(document, variables)``: one root field each, all of whose arguments are variables."""
        return st.sampled_from(sorted(root.fields)).flatmap(
            lambda name: self._call(operation, name, root.fields[name])
        )

    def _call(self, operation: str, name: str, field: g.GraphQLField) -> Values:
        given = {argument: self._value(spec.type) for argument, spec in field.args.items()}
        required = {key: value for key, value in given.items() if g.is_required_argument(field.args[key])}
        optional = {key: value for key, value in given.items() if key not in required}
        declared = ", ".join(f"${key}: {spec.type}" for key, spec in field.args.items())
        passed = ", ".join(f"{key}: ${key}" for key in field.args)
        selection = selection_of(g.get_named_type(field.type))
        document = f"{operation} Call({declared}) {{ {name}({passed}) {selection} }}"
        document = document.replace("()", "")
        return st.tuples(st.just(document), st.fixed_dictionaries(required, optional=optional))

    def _value(self, type_: g.GraphQLInputType) -> Values:
        """Mostly of this type; now and then something else."""
        return self._proper(type_) | self._proper(type_) | self._proper(type_) | json_values

    def _proper(self, type_: g.GraphQLInputType) -> Values:
        if g.is_non_null_type(type_):
            return self._proper(type_.of_type)
        if g.is_list_type(type_):
            return st.lists(self._proper(type_.of_type), max_size=4)
        if g.is_enum_type(type_):
            return st.sampled_from([*type_.values, "NO_SUCH_VALUE"])
        if g.is_input_object_type(type_):
            fields = {
                name: st.deferred(lambda spec=spec: self._proper(spec.type))
                for name, spec in type_.fields.items()
            }  # type: ignore[misc]
            required = {
                name: fields[name] for name, spec in type_.fields.items() if g.is_required_input_field(spec)
            }
            optional = {name: values for name, values in fields.items() if name not in required}
            return st.fixed_dictionaries(required, optional=optional)
        return self._scalars[g.get_named_type(type_).name]


def selection_of(type_: g.GraphQLNamedType, depth: int = 3) -> str:
    """Every field down to a depth of objects, where no argument is needed."""
    if not isinstance(type_, g.GraphQLObjectType):
        return "{ __typename }" if g.is_composite_type(type_) else ""
    chosen = ["__typename"]
    for name, field in type_.fields.items():
        inner = g.get_named_type(field.type)
        if any(g.is_required_argument(argument) for argument in field.args.values()):
            continue
        if g.is_leaf_type(inner):
            chosen.append(name)
        elif depth > 1 and not name.endswith("Edge"):
            chosen.append(f"{name} {selection_of(inner, 1)}")
    return "{ " + " ".join(chosen) + " }"


def literal(value: Any) -> g.ValueNode:
    """The value as it is written in a document."""
    if value is None:
        return nodes.Null
    if isinstance(value, bool):
        return nodes.Boolean(value)
    if isinstance(value, int):
        return nodes.Int(value)
    if isinstance(value, float):
        return nodes.Float(value)
    if isinstance(value, list):
        return g.ListValueNode(values=tuple(literal(item) for item in value))
    if isinstance(value, dict):
        # Keys of literals are names, whatever a JSON object may have.
        fields = [
            g.ObjectFieldNode(name=g.NameNode(value=key), value=literal(item))
            for key, item in value.items()
            if key.isidentifier() and key.isascii()
        ]
        return g.ObjectValueNode(fields=tuple(fields))
    return nodes.String(value)
