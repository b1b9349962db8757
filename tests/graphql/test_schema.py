"""What the schema promises, independent of any data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_scalar_type,
)

from app.database import models, queries
from app.database.queries import Selection
from app.graphql.inputs import camel_case
from app.graphql.rows import attribute_of
from app.graphql.schema import Schema, printed_schema
from app.graphql.types.artifact import Artifact, Dataset, Model
from app.graphql.types.attempt import MetricPoint, ResourceSample, StageAttempt
from app.graphql.types.pipeline import Pipeline, Stage
from app.graphql.types.run import Run
from app.graphql.types.schedule import Schedule
from app.graphql.types.stage_run import StageRun
from app.graphql.types.system import Worker
from app.graphql.types.webhook import Webhook

READ_TYPES: list[tuple[Selection, type[Any]]] = [
    (queries.PIPELINES, Pipeline),
    (queries.STAGES, Stage),
    (queries.RUNS, Run),
    (queries.STAGE_RUNS, StageRun),
    (queries.ARTIFACTS, Artifact),
    (queries.DATASETS, Dataset),
    (queries.MODELS, Model),
    (queries.WORKERS, Worker),
    (queries.ATTEMPTS, StageAttempt),
    (queries.SAMPLES, ResourceSample),
    (queries.METRIC_POINTS, MetricPoint),
    (queries.SCHEDULES, Schedule),
    (queries.WEBHOOKS, Webhook),
]


def test_the_printed_schema_in_the_repository_is_current() -> None:
    stored = Path(__file__).parents[2] / "schema.graphql"
    assert stored.read_text() == printed_schema()


def test_everything_has_a_description(schema: Schema) -> None:
    assert [name for name, description in described_parts(schema) if not description] == []


@pytest.mark.parametrize(("selection", "cls"), READ_TYPES)
def test_a_type_has_exactly_the_attributes_which_are_read_for_it(
    selection: Selection, cls: type[Any]
) -> None:
    attributes = {field.name for field in dataclasses.fields(cls) if field.init}
    assert {attribute_of(name) for name in selection.names} == attributes


@pytest.mark.parametrize(
    ("table", "type_name"),
    [
        (models.pipelines, "Pipeline"),
        (models.pipeline_stages, "Stage"),
        (models.pipeline_runs, "Run"),
        (models.stage_runs, "StageRun"),
        (models.artifacts, "Artifact"),
        (models.datasets, "Dataset"),
        (models.models, "Model"),
    ],
)
def test_every_column_of_a_table_is_a_field_of_its_type_or_internal(
    schema: Schema, table: Any, type_name: str
) -> None:
    internal = {
        "pipeline_runs": {
            "failFast",
            "idempotencyKey",
            "lastMetricSeq",
            "lastSampleSeq",
            "maxConcurrentRuns",
            "maxConcurrentStages",
            "openStageCount",
            "retryOfId",
            "timeoutSeconds",
        },
        "stage_runs": {
            "cacheKey",
            "cacheMiss",
            "cacheParts",
            "cpus",
            "dependsOn",
            "memoryMb",
            "reusedFromId",
            "stopActor",
            "stopCause",
            "stopReason",
            "waitingFor",
            "workerId",
        },
        "artifacts": {"isCapturedLog"},
    }
    columns = {camel_case(column.name) for column in table.columns}
    graph_type = schema._schema.type_map[type_name]
    assert isinstance(graph_type, GraphQLObjectType)
    assert columns - set(graph_type.fields) == internal.get(table.name, set())


def described_parts(schema: Schema) -> Iterator[tuple[str, str | None]]:
    for name, graph_type in schema._schema.type_map.items():
        if is_introspection_type(graph_type) or is_specified_scalar_type(graph_type):
            continue
        yield name, graph_type.description
        if isinstance(graph_type, GraphQLEnumType):
            yield from ((f"{name}.{key}", value.description) for key, value in graph_type.values.items())
        elif isinstance(graph_type, GraphQLInputObjectType):
            yield from ((f"{name}.{key}", field.description) for key, field in graph_type.fields.items())
        elif isinstance(graph_type, (GraphQLObjectType, GraphQLInterfaceType)):
            for key, output in graph_type.fields.items():
                yield f"{name}.{key}", output.description
                yield from ((f"{name}.{key}({a})", arg.description) for a, arg in output.args.items())
