"""What plans are made of, how many are kept, and what happens to work nobody waits for any more."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension

from app.compiled_graphql import CompiledExecutor
from app.compiled_graphql.leaves import isoformat
from app.compiled_graphql.plans import MAX_FIELDS, MAX_LENGTH, MAX_PLANS, Plans
from app.graphql.stage_runs.types import StageRun
from tests.factories import Factory
from tests.graphql.conftest import Graph

NESTED = "{ runs { nodes { id stageRuns { id } } } }"


def plans_of(schema: Any) -> Plans:
    return Plans.of(schema._schema)


async def test_a_document_is_compiled_once(graph: Graph) -> None:
    document = "{ runs { nodes { id pipeline { name } } } }"
    await graph.data(document)
    kept = len(plans_of(graph.schema))
    await graph.data(document)
    assert len(plans_of(graph.schema)) == kept > 0


async def test_no_more_plans_are_kept_than_allowed(graph: Graph) -> None:
    for number in range(MAX_PLANS + 5):
        await graph.data(f"{{ a{number}: __typename }}")
    plans = plans_of(graph.schema)
    assert len(plans) == MAX_PLANS
    assert sum(plan.size.fields for plan in plans._plans.values()) <= MAX_FIELDS


async def test_the_plan_of_a_long_document_is_not_kept(graph: Graph) -> None:
    kept = len(plans_of(graph.schema))
    await graph.data("{ __typename " + " " * MAX_LENGTH + "}")
    assert len(plans_of(graph.schema)) == kept


async def test_conditions_are_decided_for_each_request_anew(graph: Graph) -> None:
    document = "query($b: Boolean!) { __typename runs @include(if: $b) { nodes { id } } }"
    assert await graph.data(document, b=True) == {"__typename": "Query", "runs": {"nodes": []}}
    assert await graph.data(document, b=False) == {"__typename": "Query"}
    assert await graph.data(document, b=True) == {"__typename": "Query", "runs": {"nodes": []}}


async def test_what_an_operation_loaded_is_freed_with_it(graph: Graph, make: Factory) -> None:
    run = await make.run(pipeline := await make.pipeline())
    await make.stage_run(run, await make.stage(pipeline))
    await graph.data(NESTED)
    gc.collect()
    gc.disable()
    try:
        await graph.data(NESTED)
        assert [loaded for loaded in gc.get_objects() if isinstance(loaded, StageRun)] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("microsecond", [0, 1, 120_000])
@pytest.mark.parametrize("zone", [dt.UTC, None, dt.timezone(dt.timedelta(hours=5, minutes=30))])
def test_times_are_written_as_python_writes_them(microsecond: int, zone: dt.tzinfo | None) -> None:
    for year in (1, 987, 1970, 2026, 9999):
        time = dt.datetime(year, 2, 3, 4, 5, 6, microsecond, zone)
        assert isoformat(time) == time.isoformat()


@strawberry.type
class Slow:
    @strawberry.field
    async def never(self, info: strawberry.Info) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            info.context.append("cancelled")
            raise
        return "never"

    @strawberry.field
    async def fails(self) -> str:
        await asyncio.sleep(0)
        raise ValueError("no")


class Traced(SchemaExtension):
    def resolve(self, next_: Any, root: Any, info: Any, *arguments: str, **keywords: Any) -> Any:
        info.context.append(info.field_name)
        return next_(root, info, *arguments, **keywords)


async def test_a_cancelled_operation_cancels_its_resolvers() -> None:
    schema = strawberry.Schema(Slow, execution_context_class=CompiledExecutor)
    ended: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await schema.execute("{ never }", context_value=ended)
    await asyncio.sleep(0)
    assert ended == ["cancelled"]


async def test_an_error_that_nulls_everything_waits_for_nobody() -> None:
    schema = strawberry.Schema(Slow, execution_context_class=CompiledExecutor)
    ended: list[str] = []
    result = await schema.execute("{ never fails }", context_value=ended)
    assert result.data is None
    assert [error.path for error in result.errors or ()] == [["fails"]]
    await asyncio.sleep(0)
    assert ended == ["cancelled"]


@strawberry.type
class Picky:
    name: str = "picky"

    @classmethod
    def is_type_of(cls, value: object, info: object) -> bool:
        return False


@strawberry.type
class Root:
    picky: Picky = strawberry.field(default_factory=Picky)


async def test_a_type_of_its_own_mind_is_asked() -> None:
    schema = strawberry.Schema(Root, execution_context_class=CompiledExecutor)
    result = await schema.execute("{ picky { name } }", root_value=Root())
    assert [error.message.split(" but")[0] for error in result.errors or ()] == [
        "Expected value of type 'Picky'"
    ]


async def test_extensions_that_look_at_each_field_still_see_each() -> None:
    schema = strawberry.Schema(Slow, execution_context_class=CompiledExecutor, extensions=[Traced])
    seen: list[str] = []
    await schema.execute("{ __typename fails }", context_value=seen)
    assert seen == ["__typename", "fails"]
