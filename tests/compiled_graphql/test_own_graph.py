"""Random queries on the graph of the product over real rows: plans answer as graphql-core does."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import artifacts, pipeline_runs, pipelines, stage_runs
from app.domain.vocabulary import ArtifactType, RunStatus, StageStatus
from app.graphql.schema import Schema, build_schema
from app.graphql.shared.context import ContextFactory
from app.graphql.shared.ids import global_id
from tests.compiled_graphql.comparing import assert_same
from tests.compiled_graphql.operations import LITERALS, Operations
from tests.factories import NOON, Factory

QUERIES = 120
TABLES = {"Pipeline": pipelines, "Run": pipeline_runs, "StageRun": stage_runs, "Artifact": artifacts}


@pytest.fixture(scope="module")
def core() -> Schema:
    return build_schema(compiled=False)


@pytest.fixture(scope="module")
def plans() -> Schema:
    return build_schema()


async def test_random_queries_are_answered_alike(
    core: Schema, plans: Schema, contexts: ContextFactory, make: Factory, engine: AsyncEngine
) -> None:
    async with make.at_once():
        await fill(make)
    operations = Operations(core._schema, {**LITERALS, **await literals_of(engine)}, depth=4)
    affordable = with_data = 0
    for seed in range(QUERIES):
        document, variables = operations.make(seed)
        expected = await core.execute(document, variables, contexts())
        found = await plans.execute(document, variables, contexts())
        if expected.errors and expected.errors[0].path is None:
            assert [error.message for error in found.errors or ()] == [e.message for e in expected.errors]
            continue
        assert_same(found, expected)
        affordable += 1
        if expected.data is not None:
            # Without data graphql-core may continue to read, so the numbers of statements may differ.
            assert found.extensions == expected.extensions, document
            with_data += 1
    assert affordable > QUERIES / 2
    assert with_data > QUERIES / 4


async def fill(make: Factory) -> None:
    """Make two runs of each of two pipelines, with an example of everything."""
    for number in range(2):
        pipeline = await make.pipeline(f"pipeline {number}")
        stages = [await make.stage(pipeline, f"stage {place}", order=place) for place in range(2)]
        for status in (RunStatus.COMPLETED, RunStatus.RUNNING):
            run = await make.run(pipeline, status, started_at=NOON, tags=["nightly"], output_data={"a": [1]})
            await make.event(
                run, 1, "RUN_STARTED", payload={"status": "RUNNING", "previousStatus": "PENDING"}
            )
            for place, stage in enumerate(stages):
                await add_stage_run(make, run, stage, place)


async def add_stage_run(make: Factory, run: uuid.UUID, stage: uuid.UUID, place: int) -> None:
    status = StageStatus.COMPLETED if place == 0 else StageStatus.FAILED
    stage_run = await make.stage_run(run, stage, status, position=place, metrics={"loss": 0.5})
    await make.attempt(stage_run, worker_id=await make.worker(), exit_code=place)
    data = await make.artifact(stage_run, stage, "data", artifact_type=ArtifactType.DATASET, file_size=2**40)
    dataset = await make.dataset(data, row_count=3)
    await make.model(await make.artifact(stage_run, stage), training_dataset_id=dataset)


async def literals_of(engine: AsyncEngine) -> dict[str, Callable[[random.Random], str]]:
    """Ids of existing objects, an id of none, and a text that is not an id."""
    ids = ["nonsense", global_id("Run", uuid.UUID(int=1))]
    async with engine.connect() as connection:
        for name, table in TABLES.items():
            ids += [global_id(name, key) for (key,) in await connection.execute(sa.select(table.c.id))]
    return {"ID": lambda chance: json.dumps(chance.choice(ids))}
