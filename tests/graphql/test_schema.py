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

from app.database import tables
from app.database.reads import selections
from app.database.reads.selections import Selection
from app.graphql.artifacts.types import Artifact, Dataset, Model
from app.graphql.pipelines.types import Pipeline, Stage
from app.graphql.registry.types import ModelAlias, ModelAliasMove, ModelVersion, RegisteredModel
from app.graphql.runs.types import Run
from app.graphql.schedules.types import Schedule
from app.graphql.schema import Schema, printed_schema
from app.graphql.shared.inputs import camel_case
from app.graphql.shared.rows import attribute_of
from app.graphql.stage_runs.attempts import StageAttempt
from app.graphql.stage_runs.series import MetricPoint, ResourceSample
from app.graphql.stage_runs.types import StageRun
from app.graphql.system.types import Worker
from app.graphql.webhooks.types import Webhook

READ_TYPES: list[tuple[Selection, type[Any]]] = [
    (selections.PIPELINES, Pipeline),
    (selections.STAGES, Stage),
    (selections.RUNS, Run),
    (selections.STAGE_RUNS, StageRun),
    (selections.ARTIFACTS, Artifact),
    (selections.DATASETS, Dataset),
    (selections.MODELS, Model),
    (selections.REGISTERED_MODELS, RegisteredModel),
    (selections.MODEL_VERSIONS, ModelVersion),
    (selections.MODEL_ALIASES, ModelAlias),
    (selections.MODEL_ALIAS_MOVES, ModelAliasMove),
    (selections.WORKERS, Worker),
    (selections.ATTEMPTS, StageAttempt),
    (selections.SAMPLES, ResourceSample),
    (selections.METRIC_POINTS, MetricPoint),
    (selections.SCHEDULES, Schedule),
    (selections.WEBHOOKS, Webhook),
]


def test_the_printed_schema_in_the_repository_is_current() -> None:
    stored = Path(__file__).parents[2] / "schema.graphql"
    assert stored.read_text() == printed_schema()


def test_everything_has_a_description(schema: Schema) -> None:
    assert [name for name, description in described_parts(schema) if not description] == []


@pytest.mark.parametrize(("selection", "cls"), READ_TYPES)
def test_a_type_has_exactly_the_attributes_that_are_read_for_it(selection: Selection, cls: type[Any]) -> None:
    attributes = {field.name for field in dataclasses.fields(cls) if field.init}
    assert {attribute_of(name) for name in selection.names} == attributes


@pytest.mark.parametrize(
    ("table", "type_name"),
    [
        (tables.pipelines, "Pipeline"),
        (tables.pipeline_stages, "Stage"),
        (tables.pipeline_runs, "Run"),
        (tables.stage_runs, "StageRun"),
        (tables.artifacts, "Artifact"),
        (tables.datasets, "Dataset"),
        (tables.models, "Model"),
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
