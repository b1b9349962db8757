"""Random operations on a graph whose resolvers fail and delay: plans answer as graphql-core does."""

from __future__ import annotations

import gc

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.compiled_graphql import CompiledExecutor
from tests.compiled_graphql.comparing import assert_same
from tests.compiled_graphql.faulty_schema import Faults, faulty_schema
from tests.compiled_graphql.operations import Operations

QUERIES = 40
MUTATIONS = 10


@pytest.fixture(scope="module")
def core() -> strawberry.Schema:
    return faulty_schema(StrawberryGraphQLCoreExecutionContext)


@pytest.fixture(scope="module")
def plans() -> strawberry.Schema:
    return faulty_schema(CompiledExecutor)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.parametrize(
    ("fault", "delay"), [(0, 0), (0.03, 0), (0.2, 0), (0, 0.5), (0.03, 0.3), (0.2, 0.4), (0.4, 0.6)]
)
async def test_random_operations_are_answered_alike(
    core: strawberry.Schema, plans: strawberry.Schema, fault: float, delay: float, kind: str
) -> None:
    operations = Operations(core._schema)
    for seed in range(QUERIES if kind == "query" else MUTATIONS):
        document, variables = operations.make(seed, kind)
        expected = await core.execute(document, variables, before := Faults(seed, fault, delay))
        for _ in range(2):  # by a new plan, then by the same plan from the cache
            found = await plans.execute(document, variables, after := Faults(seed, fault, delay))
            assert_same(found, expected)
            assert after.log == before.log
    gc.collect()  # here, where the warnings about what graphql-core leaves behind are ignored
