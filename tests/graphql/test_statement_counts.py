"""However many rows a query returns, it costs the same number of SQL statements."""

from __future__ import annotations

import re

from app.domain.vocabulary import ArtifactType, FinishReason
from app.graphql.schema import build_schema
from app.graphql.shared.context import ContextFactory
from app.graphql.shared.ids import global_id
from tests.factories import Factory
from tests.graphql.conftest import Graph

NESTED = """
query Nested($first: Int) {
  runs(first: $first) {
    nodes {
      id status
      pipeline { id name }
      stageRuns {
        id status
        stage { id name }
        artifacts {
          nodes {
            id name
            model { algorithm trainingDataset { format } }
            dataset { rowCount }
          }
        }
      }
    }
  }
}
"""

EDGES_OF_EVERYTHING = 35
EVERYTHING = """
query Everything($first: Int) {
  runs(first: $first) {
    totalCount
    nodes {
      explanation { cause } queuePosition definition retryOf { id } retries { id } stageRunCounts { total completed }
      artifacts(first: 2) { totalCount nodes { run { id } stage { pipeline { id } } stageRun { run { id } } } }
      pipeline { latestRun { id } runs(first: 2) { totalCount nodes { id } } stages { dependencies { id } } }
      stageRuns {
        explanation { cause becauseOf { name } }
        dependencies { id } dependents { id } spec
        attempts { attempt worker { pid } end { summary lastLogLines worker { pid } } }
        end { summary stop { actor } stragglers { count } lastLogLines worker { pid } }
        resourceSamples(maxPoints: 1) { memoryMb }
        metricPoints(maxPoints: 1) { value }
        stage { stageRuns(first: 1) { nodes { id } } artifacts(first: 1) { totalCount } }
      }
    }
  }
}
"""


async def test_fifty_runs_cost_as_many_statements_as_five(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    async with make.at_once():
        await make_runs(make, 50)
    counts = []
    for first in (5, 50):
        statements.clear()
        data = await graph.data(NESTED, first=first)
        counts.append(len(statements))
        assert len(data["runs"]["nodes"]) == first
    assert counts == [8, 8]


async def test_no_edge_costs_more_than_one_statement(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    """Levels that ask for the same kind of node share a statement if they happen to ask at the same moment."""
    async with make.at_once():
        await make_runs(make, 50)
    for first in (1, 5, 50):
        statements.clear()
        await graph.data(EVERYTHING, first=first)
        assert 20 <= len(statements) <= EDGES_OF_EVERYTHING


async def test_only_columns_that_the_query_reads_are_loaded(
    contexts: ContextFactory, make: Factory, statements: list[str]
) -> None:
    await make_runs(make, 1)
    compiled = Graph(build_schema(), contexts)
    statements.clear()
    await compiled.data(
        "{ runs { nodes { status ...More stageRuns { name } } } } fragment More on Node { id }"
    )
    await compiled.data("{ runs { nodes { id canCancel } } }")
    runs, stage_runs, cancellable = map(columns_of, statements)
    assert runs == {"id", "pipeline_id", "retry_of_id", "status"}
    assert stage_runs == {"id", "pipeline_run_id", "stage_id", "worker_id", "reused_from_id", "name"}
    assert cancellable == runs | {"cancel_requested_at"}


async def test_executed_by_graphql_core_a_query_loads_all_columns(
    contexts: ContextFactory, make: Factory, statements: list[str]
) -> None:
    await make_runs(make, 1)
    statements.clear()
    await Graph(build_schema(compiled=False), contexts).data("{ runs { nodes { id } } }")
    assert {"error_message", "run_config"} < columns_of(statements[0])


async def test_all_columns_are_read_if_a_field_does_not_name_its_own(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    await make_runs(make, 1)
    statements.clear()
    await graph.data("{ runs { nodes { explanation { cause } } } }")
    assert {"error_message", "run_config"} < columns_of(statements[0])


def columns_of(statement: str) -> set[str]:
    [columns] = re.findall("SELECT (.*?)FROM", statement, re.DOTALL)
    return {column.split(".")[1].strip() for column in columns.split(",")}


async def test_the_response_says_what_the_query_cost(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    await make_runs(make, 2)
    statements.clear()
    result = await graph.result(NESTED, first=2)
    assert result.extensions is not None
    assert result.extensions["cost"] == {"cost": 435, "limit": 15_000, "sqlStatements": len(statements)}


async def test_one_operation_loads_a_node_once_and_the_next_one_loads_it_again(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    node_id = global_id("Pipeline", await make.pipeline())
    query = (
        "query($id: ID!) { pipeline(id: $id) { name } same: pipeline(id: $id) { name } node(id: $id) { id } }"
    )
    for _ in range(2):
        statements.clear()
        assert (await graph.data(query, id=node_id))["pipeline"] == {"name": "penguins"}
        assert len(statements) == 1


async def make_runs(make: Factory, number: int) -> None:
    """Runs of one pipeline; each has three stage runs, and each of those a dataset and a model trained with it."""
    pipeline_id = await make.pipeline()
    stages = [
        await make.stage(pipeline_id, f"stage {place}", order=place, dependencies=[f"stage {place - 1}"])
        for place in range(3)
    ]
    for _ in range(number):
        run_id = await make.run(pipeline_id)
        for place, stage_id in enumerate(stages):
            over = {"finish_reason": FinishReason.EXITED}
            stage_run_id = await make.stage_run(run_id, stage_id, position=place, **over)
            await make.attempt(stage_run_id, worker_id=await make.worker(), log_tail="done", **over)
            data = await make.artifact(stage_run_id, stage_id, "data", artifact_type=ArtifactType.DATASET)
            dataset_id = await make.dataset(data, row_count=2**40)
            await make.model(await make.artifact(stage_run_id, stage_id), training_dataset_id=dataset_id)


START_RUN = (
    "mutation($input: StartRunInput!) { startRun(input: $input) { run { id status } errors { message } } }"
)
STATEMENTS_OF_START_RUN = (
    ("SELECT", "pipelines"),
    ("SELECT", "pipeline_stages"),
    ("SELECT", "pipelines"),
    ("INSERT", "pipeline_runs"),
    ("INSERT", "stage_runs"),
    ("INSERT", "run_events"),
    ("UPDATE", "pipeline_stages"),
    ("UPDATE", "pipelines"),
    ("SELECT", "pipeline_runs"),
)


async def test_start_run_takes_nine_statements_however_many_stages_it_has(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    for count in (1, 30):
        pipeline_id = await make.pipeline(f"{count} stages")
        for place in range(count):
            await make.stage(pipeline_id, f"stage {place}", order=place, config={"command": ["true"]})
        statements.clear()
        data = await graph.data(START_RUN, input={"pipelineId": global_id("Pipeline", pipeline_id)})
        assert data["startRun"]["errors"] == []
        assert tuple(map(verb_and_table, statements)) == STATEMENTS_OF_START_RUN


def verb_and_table(statement: str) -> tuple[str, str]:
    found = re.match(r"(SELECT)\b.*?\bFROM (\w+)|(INSERT) INTO (\w+)|(UPDATE) (\w+)", statement, re.DOTALL)
    assert found is not None, statement
    verb, table = (part for part in found.groups() if part)
    return verb, table
