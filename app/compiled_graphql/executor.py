"""Where graphql-core hands the execution over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLObjectType
from graphql.execution.collect_fields import DeferUsage, GroupedFieldSet
from graphql.pyutils import AwaitableOrValue
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.compiled_graphql.plans import Plan, Plans
from app.compiled_graphql.reading import Forewarned
from app.compiled_graphql.running import Run
from app.compiled_graphql.selecting import Selection


class CompiledExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes by plans. For ``execution_context_class`` of a Strawberry schema.

    Parsing, validation, variables and the form of the response remain graphql-core's, and so does the execution as a
    whole of operations that deliver incrementally (@defer, @stream), can be aborted, have middleware (extensions with
    ``resolve``) or pass arguments to fragments.
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
        if plan.attributes is not None and isinstance(self.context_value, Forewarned):
            self.context_value.expect(plan.attributes)
        root, run = plan.root(self, root_type, grouped_field_set), Run(self)
        if serially:
            return all_serially(root, root_value, run)
        return all_at_once(root, root_value, run)

    def _plan(self) -> Plan | None:
        """The plan of the operation, unless it needs what plans can't do."""
        if self.abort_signal is not None or (self.middleware_manager and self.middleware_manager.middlewares):
            return None
        if any(fragment.variable_signatures for fragment in self.fragments.values()):
            return None
        plan = Plans.of(self.schema).find(self)
        return None if plan.conditions.incremental else plan


def all_at_once(root: Selection, root_value: Any, run: Run) -> AwaitableOrValue[dict[str, Any]]:
    try:
        data = root.execute(root_value, None, run, None)
    except Exception:
        run.abandon()
        raise
    return awaited(data, run) if run.waits else data


async def awaited(data: dict[str, Any], run: Run) -> dict[str, Any]:
    await run.fill_slots()
    return data


async def all_serially(root: Selection, root_value: Any, run: Run) -> dict[str, Any]:
    try:
        return await root.execute_serially(root_value, run)
    except BaseException:
        run.abandon()
        raise
