"""The class through which graphql-core calls the compiled plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLObjectType
from graphql.execution.collect_fields import DeferUsage, GroupedFieldSet
from graphql.pyutils import AwaitableOrValue
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.compiled_graphql.execution import Execution
from app.compiled_graphql.plans import Plan, Plans
from app.compiled_graphql.reading import NarrowableContext
from app.compiled_graphql.selecting import SelectionPlan


class CompiledExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes operations by compiled plans. Pass it as ``execution_context_class`` to a Strawberry schema.

    graphql-core still parses, validates, coerces variables and builds the response. It also executes operations that
    plans do not support: those with @defer or @stream, an abort signal, middleware (extensions with ``resolve``) or
    fragment arguments.
    """

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        new_defer_usages: Sequence[DeferUsage],
    ) -> AwaitableOrValue[dict[str, Any]]:
        plan = self._plan()
        if plan is None:
            return super().execute_collected_root_fields(
                root_type, root_value, grouped_field_set, serially, new_defer_usages
            )
        if plan.attributes is not None and isinstance(self.context_value, NarrowableContext):
            self.context_value.narrow_to(plan.attributes)
        root, execution = plan.root(self, root_type, grouped_field_set), Execution(self)
        if serially:
            return all_serially(root, root_value, execution)
        return all_at_once(root, root_value, execution)

    def _plan(self) -> Plan | None:
        """The plan of the operation; ``None`` if plans do not support it."""
        if self.abort_signal is not None or (self.middleware_manager and self.middleware_manager.middlewares):
            return None
        if any(fragment.variable_signatures for fragment in self.fragments.values()):
            return None
        plan = Plans.of(self.schema).find(self)
        return None if plan.directives.incremental else plan


def all_at_once(
    root: SelectionPlan, root_value: Any, execution: Execution
) -> AwaitableOrValue[dict[str, Any]]:
    try:
        data = root.execute(root_value, None, execution, None)
    except Exception:
        execution.abandon()
        raise
    return awaited(data, execution) if execution.has_awaited_values else data


async def awaited(data: dict[str, Any], execution: Execution) -> dict[str, Any]:
    await execution.complete_awaited_values()
    return data


async def all_serially(root: SelectionPlan, root_value: Any, execution: Execution) -> dict[str, Any]:
    try:
        return await root.execute_serially(root_value, execution)
    except BaseException:
        execution.abandon()
        raise
