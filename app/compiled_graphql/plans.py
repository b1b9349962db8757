"""Compiled operations, kept for the next time the same document comes."""

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
from app.compiled_graphql.selecting import Selection, Size, selection

MAX_PLANS = 256
MAX_FIELDS = 20_000
"""Of all plans together; a field takes about 2 kB."""
MAX_LENGTH = 4000
"""Longer documents are parsed anew each time (``documents.DocumentCache``): their plans would never be found."""


class Conditions(Visitor):
    """What decides which fields an operation has, besides its document."""

    def __init__(self, executor: Executor[Any]) -> None:
        super().__init__()
        self.variables: set[str] = set()
        """Variables in @skip and @include."""
        self.incremental = False
        """It has a @defer or @stream."""
        for definition in (executor.operation, *executor.fragment_definitions.values()):
            visit(definition, self)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        self.incremental |= node.name.value in ("defer", "stream")
        if node.name.value in ("skip", "include"):
            values = (argument.value for argument in node.arguments or ())
            self.variables.update(value.name.value for value in values if isinstance(value, VariableNode))


class Plan:
    """What is compiled of one operation of a document."""

    def __init__(self, executor: Executor[Any]) -> None:
        self.operation = executor.operation
        """Held on to, so that no other operation gets its ``id``."""
        self.conditions = Conditions(executor)
        self.attributes = attributes_read(executor)
        self.size = Size()
        self._roots: dict[Hashable, Selection] = {}

    def root(
        self, executor: Executor[Any], root_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Selection:
        """The root fields for the present values of the variables in @skip and @include."""
        values = executor.variable_values.coerced
        outcome = tuple(values.get(name) for name in self.conditions.variables)
        found = self._roots.get(outcome)
        if found is None:
            if self.size.fields > MAX_FIELDS:
                self._roots.clear()
                self.size = Size()
            found = self._roots[outcome] = selection(executor, root_type, grouped, self.size)
        return found


class Plans:
    """The plans of one schema: those used last, within the limits above."""

    def __init__(self) -> None:
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    @classmethod
    def of(cls, schema: GraphQLSchema) -> Plans:
        plans: Plans = schema.extensions.setdefault(__name__, cls())
        return plans

    def __len__(self) -> int:
        return len(self._plans)

    def find(self, executor: Executor[Any]) -> Plan:
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
    """Characters of the document, with its fragments."""
    return len(operation.loc.source.body) if operation.loc is not None else 0
