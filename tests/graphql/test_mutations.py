"""Each mutation changes what it says, or answers with all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.vocabulary import RunStatus
from app.graphql.shared.ids import global_id
from tests.factories import Factory
from tests.graphql.conftest import Graph

CREATE = """mutation($input: CreatePipelineInput!) { createPipeline(input: $input) {
  pipeline { id name description config stages { name order config dependencies { name } } }
  errors { code message path } } }"""
UPDATE = """mutation($input: UpdatePipelineInput!) { updatePipeline(input: $input) {
  pipeline { name description config stages { id name } } errors { code path } } }"""
DELETE = """mutation($input: DeletePipelineInput!) { deletePipeline(input: $input) {
  deletedPipelineId errors { code path } } }"""
START = """mutation($input: StartRunInput!) { startRun(input: $input) {
  run { id status tags environment runConfig triggeredBy notes pipeline { name } stageRuns { name status } }
  errors { code message path } } }"""
CANCEL = """mutation($input: CancelRunInput!) { cancelRun(input: $input) {
  run { id canCancel cancelReason status } errors { code path } } }"""
UPDATE_RUN = """mutation($input: UpdateRunInput!) { updateRun(input: $input) {
  run { id tags notes status } errors { code path } } }"""
DELETE_RUN = """mutation($input: DeleteRunInput!) { deleteRun(input: $input) {
  deletedRunId errors { code path } } }"""
RETRY = """mutation($input: RetryRunInput!) { retryRun(input: $input) {
  run { id retryOf { id } } errors { code path } } }"""

PENGUINS: dict[str, Any] = {
    "name": "penguins",
    "description": "Which penguin is it?",
    "config": {"params": {"seed": 1}},
    "stages": [
        {"name": "load", "stageType": "DATA_INGESTION", "config": {"command": ["true"]}},
        {
            "name": "train",
            "stageType": "MODEL_TRAINING",
            "dependencies": ["load"],
            "config": {"command": ["false"], "params": {"lr": 0.1}},
        },
    ],
}


async def perform(graph: Graph, mutation: str, **values: Any) -> dict[str, Any]:
    """The payload of the mutation."""
    data = await graph.data(mutation, input=values)
    [payload] = data.values()
    return payload  # type: ignore[no-any-return]


async def create(graph: Graph) -> str:
    """The global id of a new pipeline."""
    payload = await perform(graph, CREATE, **PENGUINS)
    assert payload["errors"] == []
    return str(payload["pipeline"]["id"])


async def start(graph: Graph, **values: Any) -> dict[str, Any]:
    payload = await perform(graph, START, pipelineId=await create(graph), **values)
    assert payload["errors"] == []
    return payload["run"]  # type: ignore[no-any-return]


async def test_a_pipeline_is_created_with_its_stages(graph: Graph) -> None:
    payload = await perform(graph, CREATE, **PENGUINS)
    assert payload["errors"] == []
    pipeline = payload["pipeline"]
    assert (pipeline["name"], pipeline["config"]) == ("penguins", {"params": {"seed": 1}})
    assert [(stage["name"], stage["dependencies"]) for stage in pipeline["stages"]] == [
        ("load", []),
        ("train", [{"name": "load"}]),
    ]
    assert pipeline["stages"][1]["config"] == {"command": ["false"], "params": {"lr": 0.1}}


async def test_all_problems_of_a_definition_are_reported_at_once_with_their_paths(graph: Graph) -> None:
    wrong = {
        "name": "wrong",
        "stages": [
            {"name": "a", "stageType": "CUSTOM", "config": {"command": ["true"]}},
            {"name": "b", "stageType": "CLEANUP", "dependencies": ["absent"], "config": {"command": []}},
        ],
    }
    payload = await perform(graph, CREATE, **wrong)
    assert payload["pipeline"] is None
    assert {error["code"] for error in payload["errors"]} == {"INVALID_SPECIFICATION"}
    paths = [".".join(error["path"]) for error in payload["errors"]]
    assert "stages.0.customName" in paths
    assert "stages.1.config.command" in paths
    assert any(path.startswith("stages.1.dependencies") for path in paths)
    assert (await graph.data("{ pipelines { totalCount } }"))["pipelines"]["totalCount"] == 0


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"params": {"text": "a\0b"}}, ["config", "params", "text"]),
        ({"params": {"list": [1, "\ud800"]}}, ["config", "params", "list", "1"]),
        ({"params": {"number": float("inf")}}, ["config", "params", "number"]),
        ({"params": {"number": 10**30}}, ["config", "params", "number"]),
        ({"a\0b": 1}, ["config"]),
    ],
)
async def test_values_that_the_database_can_not_store_are_refused(
    graph: Graph, config: dict[str, Any], path: list[str]
) -> None:
    payload = await perform(graph, CREATE, **{**PENGUINS, "config": config})
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("BAD_INPUT", path)]


async def test_too_deep_nesting_is_refused(graph: Graph) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    payload = await perform(graph, CREATE, **{**PENGUINS, "config": {"params": {"deep": deep}}})
    assert [error["code"] for error in payload["errors"]] == ["BAD_INPUT"]


async def test_numbers_in_a_literal_are_checked_like_those_in_variables(graph: Graph) -> None:
    data = await graph.data(
        """mutation { createPipeline(input: {name: "x", stages: [], config: {params: {a: 1e999}}}) {
             errors { code path } } }"""
    )
    assert data["createPipeline"]["errors"][0] == {"code": "BAD_INPUT", "path": ["config", "params", "a"]}


async def test_an_update_changes_only_what_is_given(graph: Graph) -> None:
    pipeline_id = await create(graph)
    renamed = await perform(graph, UPDATE, pipelineId=pipeline_id, name="birds")
    assert renamed["errors"] == []
    assert (renamed["pipeline"]["name"], renamed["pipeline"]["description"]) == (
        "birds",
        PENGUINS["description"],
    )
    emptied = await perform(graph, UPDATE, pipelineId=pipeline_id, description=None)
    assert (emptied["pipeline"]["name"], emptied["pipeline"]["description"]) == ("birds", None)
    assert emptied["pipeline"]["config"] == PENGUINS["config"]
    assert emptied["pipeline"]["stages"] == renamed["pipeline"]["stages"]


async def test_a_stage_keeps_its_identity_when_the_list_is_replaced(graph: Graph) -> None:
    pipeline_id = await create(graph)
    before = (await perform(graph, UPDATE, pipelineId=pipeline_id))["pipeline"]["stages"]
    stages = [{**PENGUINS["stages"][1], "dependencies": []}]
    after = (await perform(graph, UPDATE, pipelineId=pipeline_id, stages=stages))["pipeline"]["stages"]
    assert after == [before[1]]


async def test_null_is_refused_where_it_removes_nothing(graph: Graph) -> None:
    pipeline_id = await create(graph)
    query = UPDATE.replace("code path", "code message path")
    payload = await perform(graph, query, pipelineId=pipeline_id, name=None, description=None, stages=None)
    assert payload["pipeline"] is None
    assert payload["errors"] == [
        {
            "code": "BAD_INPUT",
            "message": f"{name}: must not be null; leave it out to keep it",
            "path": [name],
        }
        for name in ("name", "stages")
    ]
    kept = await perform(graph, UPDATE, pipelineId=pipeline_id)
    assert kept["pipeline"]["description"] == PENGUINS["description"]
    literal = (
        """mutation($id: ID!) { updatePipeline(input: {pipelineId: $id, name: null}) { errors { path } } }"""
    )
    assert (await graph.data(literal, id=pipeline_id))["updatePipeline"]["errors"] == [{"path": ["name"]}]


async def test_a_pipeline_with_runs_is_deleted_only_together_with_them(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    await make.run(pipeline_id)
    node_id = global_id("Pipeline", pipeline_id)
    refused = await perform(graph, DELETE, pipelineId=node_id)
    assert refused == {
        "deletedPipelineId": None,
        "errors": [{"code": "PIPELINE_IN_USE", "path": ["pipelineId"]}],
    }
    assert (await perform(graph, DELETE, pipelineId=node_id, deleteRuns=True))["deletedPipelineId"] == node_id
    data = await graph.data("{ pipelines { totalCount } runs { totalCount } }")
    assert data == {"pipelines": {"totalCount": 0}, "runs": {"totalCount": 0}}


async def test_a_run_is_started_with_the_values_of_the_input(graph: Graph) -> None:
    run = await start(
        graph,
        runConfig={"params": {"seed": 2}},
        environment="staging",
        triggeredBy="a test",
        tags=["nightly"],
        notes="Why not.",
    )
    run.pop("id")
    assert run == {
        "status": "PENDING",
        "tags": ["nightly"],
        "environment": "staging",
        "runConfig": {"params": {"seed": 2}},
        "triggeredBy": "a test",
        "notes": "Why not.",
        "pipeline": {"name": "penguins"},
        "stageRuns": [{"name": "load", "status": "PENDING"}, {"name": "train", "status": "PENDING"}],
    }


async def test_the_same_idempotency_key_returns_the_same_run(graph: Graph) -> None:
    pipeline_id = await create(graph)
    runs = [
        (await perform(graph, START, pipelineId=pipeline_id, idempotencyKey="once"))["run"]["id"]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


async def test_all_problems_of_a_start_are_reported_at_once(graph: Graph) -> None:
    payload = await perform(
        graph,
        START,
        pipelineId=await create(graph),
        environment="e" * 51,
        tags=["", "x" * 101],
        runConfig={"failFast": 1},
    )
    assert payload["run"] is None
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [
        ("BAD_INPUT", ["environment"]),
        ("BAD_INPUT", ["tags", "0"]),
        ("BAD_INPUT", ["tags", "1"]),
        ("INVALID_SPECIFICATION", ["runConfig", "failFast"]),
    ]


async def test_a_run_is_cancelled_with_a_reason(graph: Graph) -> None:
    run = await start(graph)
    payload = await perform(graph, CANCEL, runId=run["id"], reason="no longer needed")
    assert payload["errors"] == []
    assert payload["run"]["cancelReason"] == "no longer needed"
    assert payload["run"]["canCancel"] is False


async def test_a_run_that_has_ended_can_be_retried_and_not_cancelled(graph: Graph) -> None:
    run = await start(graph)
    await perform(graph, CANCEL, runId=run["id"])
    ended = (await graph.data("query($id: ID!) { run(id: $id) { status } }", id=run["id"]))["run"]
    assert ended["status"] == RunStatus.CANCELLED
    again = await perform(graph, CANCEL, runId=run["id"])
    assert again["errors"] == [{"code": "NOT_CANCELLABLE", "path": ["runId"]}]
    retry = await perform(graph, RETRY, runId=run["id"], fromFailed=False)
    assert retry["errors"] == []
    assert retry["run"]["retryOf"] == {"id": run["id"]}


async def test_the_same_idempotency_key_returns_the_same_retry(graph: Graph) -> None:
    run_id = (await start(graph))["id"]
    await perform(graph, CANCEL, runId=run_id)
    retries = [
        (await perform(graph, RETRY, runId=run_id, idempotencyKey="again"))["run"]["id"] for _ in range(2)
    ]
    assert retries[0] == retries[1]
    refused = await perform(graph, RETRY, runId=retries[0], idempotencyKey="again")
    assert refused == {"run": None, "errors": [{"code": "CONFLICT", "path": ["idempotencyKey"]}]}
    refused = await perform(graph, RETRY, runId=run_id, idempotencyKey="a\0b")
    assert refused["errors"] == [{"code": "BAD_INPUT", "path": ["idempotencyKey"]}]


async def test_a_run_that_has_not_ended_can_not_be_retried(graph: Graph) -> None:
    run = await start(graph)
    payload = await perform(graph, RETRY, runId=run["id"])
    assert payload == {"run": None, "errors": [{"code": "NOT_RETRYABLE", "path": ["runId"]}]}


async def test_an_update_of_a_run_changes_only_what_is_given(graph: Graph) -> None:
    run_id = (await start(graph, tags=["nightly"], notes="Why not."))["id"]
    tagged = await perform(graph, UPDATE_RUN, runId=run_id, tags=["best", "ä"])
    assert tagged == {
        "run": {"id": run_id, "tags": ["best", "ä"], "notes": "Why not.", "status": "PENDING"},
        "errors": [],
    }
    emptied = (await perform(graph, UPDATE_RUN, runId=run_id, notes=None))["run"]
    assert (emptied["tags"], emptied["notes"]) == (["best", "ä"], None)
    assert (await perform(graph, UPDATE_RUN, runId=run_id))["run"] == emptied
    assert (await perform(graph, UPDATE_RUN, runId=run_id, tags=None))["run"]["tags"] is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"tags": ["x"] * 51}, ["tags"]),
        ({"tags": ["fine", "x" * 101]}, ["tags", "1"]),
        ({"tags": ["fine", ""]}, ["tags", "1"]),
        ({"tags": ["fine", "fine"]}, ["tags", "1"]),
        ({"tags": ["a\0b"]}, ["tags", "0"]),
        ({"notes": "x" * 100_001}, ["notes"]),
    ],
)
async def test_labels_of_a_run_are_limited(graph: Graph, changes: dict[str, Any], path: list[str]) -> None:
    run_id = (await start(graph, tags=["nightly"]))["id"]
    payload = await perform(graph, UPDATE_RUN, runId=run_id, **changes)
    assert payload == {"run": None, "errors": [{"code": "BAD_INPUT", "path": path}]}


async def test_only_a_run_that_has_ended_can_be_deleted(graph: Graph) -> None:
    run_id = (await start(graph))["id"]
    active = await perform(graph, DELETE_RUN, runId=run_id)
    assert active == {"deletedRunId": None, "errors": [{"code": "NOT_DELETABLE", "path": ["runId"]}]}
    await perform(graph, CANCEL, runId=run_id)
    assert await perform(graph, DELETE_RUN, runId=run_id) == {"deletedRunId": run_id, "errors": []}
    assert (await graph.data("query($id: ID!) { run(id: $id) { id } }", id=run_id))["run"] is None
    again = await perform(graph, DELETE_RUN, runId=run_id)
    assert again["errors"] == [{"code": "NOT_FOUND", "path": ["runId"]}]


async def test_a_run_whose_results_another_one_reuses_can_not_be_deleted(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    first, second = [await make.run(pipeline_id) for _ in range(2)]
    source = await make.stage_run(first, stage_id)
    await make.stage_run(second, stage_id, reused_from_id=source)
    refused = await perform(graph, DELETE_RUN, runId=str(first))
    assert refused["errors"] == [{"code": "NOT_DELETABLE", "path": ["runId"]}]
    for run_id in (second, first):
        assert (await perform(graph, DELETE_RUN, runId=str(run_id)))["errors"] == []


@pytest.mark.parametrize(
    ("mutation", "field"),
    [
        (UPDATE, "pipelineId"),
        (DELETE, "pipelineId"),
        (START, "pipelineId"),
        (CANCEL, "runId"),
        (RETRY, "runId"),
        (UPDATE_RUN, "runId"),
        (DELETE_RUN, "runId"),
    ],
)
@pytest.mark.parametrize("node_id", ["nonsense", "018f0000-0000-7000-8000-000000000000", "V29ya2VyOng="])
async def test_an_unknown_id_is_an_error_of_its_field(
    graph: Graph, mutation: str, field: str, node_id: str
) -> None:
    payload = await perform(graph, mutation, **{field: node_id})
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("NOT_FOUND", [field])]


async def test_several_mutations_of_one_request_see_each_other(graph: Graph) -> None:
    pipeline_id = await create(graph)
    run = (await perform(graph, START, pipelineId=pipeline_id, idempotencyKey="once"))["run"]
    data = await graph.data(
        """mutation($pipeline: ID!, $run: ID!) {
             known: startRun(input: {pipelineId: $pipeline, idempotencyKey: "once"}) { run { id status } }
             cancelled: cancelRun(input: {runId: $run}) { run { id status } }
             one: updatePipeline(input: {pipelineId: $pipeline, name: "one"}) { pipeline { name } }
             two: updatePipeline(input: {pipelineId: $pipeline, name: "two"}) { pipeline { name } }
           }""",
        pipeline=pipeline_id,
        run=run["id"],
    )
    assert data["known"]["run"] == {"id": run["id"], "status": "PENDING"}
    assert data["cancelled"]["run"] == {"id": run["id"], "status": "CANCELLED"}
    assert (data["one"]["pipeline"], data["two"]["pipeline"]) == ({"name": "one"}, {"name": "two"})
