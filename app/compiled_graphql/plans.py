"""Compiled operations, cached by document."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from graphql import (
    DirectiveNode,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import GroupedFieldSet

from app.compiled_graphql.reading import attributes_read
from app.compiled_graphql.selecting import CompiledSize, SelectionPlan, compile_selection

MAX_PLANS = 256
MAX_FIELDS = 20_000
"""Of all cached plans together; a field takes about 2 kB."""
MAX_LENGTH = 4000
"""In characters. Longer documents are not cached: their texts alone would take too much memory."""


class OperationDirectives(Visitor):
    """The directives of a document that decide which fields are executed, and how."""

    def __init__(self, executor: Executor[Any]) -> None:
        super().__init__()
        self.variables: set[str] = set()
        """Variables in @skip and @include."""
        self.incremental = False
        """Whether there is a @defer or @stream."""
        for definition in (executor.operation, *executor.fragment_definitions.values()):
            visit(definition, self)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        self.incremental |= node.name.value in ("defer", "stream")
        if node.name.value in ("skip", "include"):
            values = (argument.value for argument in node.arguments or ())
            self.variables.update(value.name.value for value in values if isinstance(value, VariableNode))


class Plan:
    """One compiled operation of a document."""

    def __init__(self, executor: Executor[Any]) -> None:
        self.operation = executor.operation
        """A reference, so that no other operation gets the same ``id``."""
        self.directives = OperationDirectives(executor)
        self.attributes = attributes_read(executor)
        self.size = CompiledSize()
        self._roots: dict[Hashable, SelectionPlan] = {}

    def root(
        self, executor: Executor[Any], root_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> SelectionPlan:
        """The root fields for the current values of the variables in @skip and @include."""
        values = executor.variable_values.coerced
        outcome = tuple(values.get(name) for name in self.directives.variables)
        found = self._roots.get(outcome)
        if found is None:
            if self.size.fields > MAX_FIELDS:
                self._roots.clear()
                self.size = CompiledSize()
            found = self._roots[outcome] = compile_selection(executor, root_type, grouped, self.size)
        return found


class Plans:
    """The cached plans of one schema: the most recently used, within the limits above."""

    def __init__(self) -> None:
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    @classmethod
    def of(cls, schema: GraphQLSchema) -> Plans:
        plans: Plans = schema.extensions.setdefault(__name__, cls())
        return plans

    def __len__(self) -> int:
        return len(self._plans)

    def find(self, executor: Executor[Any]) -> Plan:
        """The plan of the executor's operation, from the cache or new."""
        key = id(executor.operation)
        plan = self._plans.get(key)
        if plan is None:
            plan = Plan(executor)
            if length_of(executor.operation) <= MAX_LENGTH:
                self._make_room()
                self._plans[key] = plan
        else:
            self._plans.move_to_end(key)
        return plan

    def _make_room(self) -> None:
        fields = sum(plan.size.fields for plan in self._plans.values())
        while self._plans and (len(self._plans) >= MAX_PLANS or fields > MAX_FIELDS):
            _, plan = self._plans.popitem(last=False)
            fields -= plan.size.fields


def length_of(operation: OperationDefinitionNode) -> int:
    """Number of characters of the whole document."""
    return len(operation.loc.source.body) if operation.loc is not None else 0
