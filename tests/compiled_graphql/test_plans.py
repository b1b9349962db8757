"""Which plans are cached, when graphql-core executes instead, and what becomes of values that are no longer needed."""

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
from app.graphql.schema import Schema, build_schema
from app.graphql.shared.context import ContextFactory
from app.graphql.stage_runs.types import StageRun
from tests.factories import Factory
from tests.graphql.conftest import Graph

NESTED = "{ runs { nodes { id stageRuns { id } } } }"


@pytest.fixture(scope="module")
def schema() -> Schema:
    """Executed by plans, whatever MLP_COMPILED_GRAPHQL says."""
    return build_schema()


def plans_of(schema: Schema) -> Plans:
    return Plans.of(schema._schema)


async def test_a_schema_that_is_not_to_be_compiled_makes_no_plans(contexts: ContextFactory) -> None:
    graph = Graph(build_schema(compiled=False), contexts)
    assert await graph.data("{ runs { nodes { id } } }") == {"runs": {"nodes": []}}
    assert len(plans_of(graph.schema)) == 0


async def test_a_document_is_compiled_once(graph: Graph) -> None:
    document = "{ runs { nodes { id pipeline { name } } } }"
    await graph.data(document)
    before = len(plans_of(graph.schema))
    await graph.data(document)
    assert len(plans_of(graph.schema)) == before > 0


async def test_the_cache_of_plans_is_bounded(graph: Graph) -> None:
    for number in range(MAX_PLANS + 5):
        await graph.data(f"{{ a{number}: __typename }}")
    plans = plans_of(graph.schema)
    assert len(plans) == MAX_PLANS
    assert sum(plan.size.fields for plan in plans._plans.values()) <= MAX_FIELDS


async def test_the_plan_of_a_long_document_is_not_cached(graph: Graph) -> None:
    before = len(plans_of(graph.schema))
    await graph.data("{ __typename " + " " * MAX_LENGTH + "}")
    assert len(plans_of(graph.schema)) == before


async def test_skip_and_include_are_decided_for_each_request(graph: Graph) -> None:
    document = "query($b: Boolean!) { __typename runs @include(if: $b) { nodes { id } } }"
    assert await graph.data(document, b=True) == {"__typename": "Query", "runs": {"nodes": []}}
    assert await graph.data(document, b=False) == {"__typename": "Query"}
    assert await graph.data(document, b=True) == {"__typename": "Query", "runs": {"nodes": []}}


async def test_loaded_objects_are_freed_when_their_operation_ends(graph: Graph, make: Factory) -> None:
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
def test_times_are_formatted_as_by_python(microsecond: int, zone: dt.tzinfo | None) -> None:
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


async def test_an_error_that_nulls_all_data_cancels_the_other_resolvers() -> None:
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


async def test_a_type_with_is_type_of_of_its_own_checks_its_values() -> None:
    schema = strawberry.Schema(Root, execution_context_class=CompiledExecutor)
    result = await schema.execute("{ picky { name } }", root_value=Root())
    assert [error.message.split(" but")[0] for error in result.errors or ()] == [
        "Expected value of type 'Picky'"
    ]


async def test_extensions_that_resolve_fields_see_every_field() -> None:
    schema = strawberry.Schema(Slow, execution_context_class=CompiledExecutor, extensions=[Traced])
    seen: list[str] = []
    await schema.execute("{ __typename fails }", context_value=seen)
    assert seen == ["__typename", "fails"]
