"""``compareRuns``: what differs between runs, in one request and a fixed number of statements."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.domain.vocabulary import ArtifactType
from tests.factories import Factory
from tests.graphql.conftest import Graph

COMPARE = """query($ids: [ID!]!) { compareRuns(ids: $ids) {
  runs { tags }
  resources { executionTime { values deltas } memoryUsage { deltas } cpuUsage { deltas } }
  stages {
    name
    stageRuns { status }
    parameters { path values }
    settings { path values }
    metrics { name values deltas }
    resources { executionTime { values deltas } memoryUsage { values deltas } cpuUsage { deltas } }
    datasets {
      relativePath rowCounts rowCountDeltas datasets { format }
      schemaDifferences { added { name type } removed { name } retyped { name oldType newType } }
    }
  } } }"""
STATEMENTS = 5


def spec(command: str = "train", **params: Any) -> dict[str, Any]:
    return {"command": [command], "env": {}, "params": params}


async def make_pair(make: Factory) -> list[uuid.UUID]:
    """An old run, and a new one with another learning rate, more rows and a stage more."""
    pipeline_id = await make.pipeline()
    train, report = [await make.stage(pipeline_id, name) for name in ("train", "report")]
    old, new = [
        await make.run(pipeline_id, tags=[name], execution_time=seconds, max_memory_usage=memory)
        for name, seconds, memory in (("old", 10.0, 100.0), ("new", 7.5, None))
    ]
    old_train = await make.stage_run(
        old,
        train,
        spec=spec(lr=0.1, seed=1),
        metrics={"auc": 0.9, "loss": "NaN"},
        execution_time=8.0,
        memory_usage=512.0,
    )
    new_train = await make.stage_run(
        new,
        train,
        spec=spec("train.py", lr=0.2, seed=1),
        metrics={"auc": 0.75},
        execution_time=6.0,
        memory_usage=1024.0,
    )
    await make.metric(new_train, "accuracy", [0.25, 0.5])
    await make.stage_run(new, report, name="report", position=1)
    await add_dataset(
        make, old_train, train, 100, [("id", "integer"), ("age", "integer"), ("city", "string")]
    )
    await add_dataset(make, new_train, train, 96, [("id", "integer"), ("age", "number"), ("zip", "string")])
    return [old, new]


async def add_dataset(
    make: Factory, stage_run_id: uuid.UUID, stage_id: uuid.UUID, rows: int, columns: list[tuple[str, str]]
) -> None:
    artifact_id = await make.artifact(
        stage_run_id, stage_id, artifact_type=ArtifactType.DATASET, relative_path="datasets/train.csv"
    )
    schema = [{"name": name, "type": of_type, "nullable": False} for name, of_type in columns]
    await make.dataset(artifact_id, row_count=rows, schema=schema)


async def compare(graph: Graph, ids: list[uuid.UUID]) -> Any:
    return (await graph.data(COMPARE, ids=[str(run_id) for run_id in ids]))["compareRuns"]


async def test_stages_are_matched_by_name(graph: Graph, make: Factory) -> None:
    compared = await compare(graph, await make_pair(make))
    assert compared["runs"] == [{"tags": ["old"]}, {"tags": ["new"]}]
    assert [(stage["name"], stage["stageRuns"]) for stage in compared["stages"]] == [
        ("train", [{"status": "COMPLETED"}] * 2),
        ("report", [None, {"status": "COMPLETED"}]),
    ]


async def test_only_settings_that_differ_are_listed(graph: Graph, make: Factory) -> None:
    train, report = (await compare(graph, await make_pair(make)))["stages"]
    assert train["parameters"] == [{"path": ["lr"], "values": [0.1, 0.2]}]
    assert train["settings"] == [{"path": ["command"], "values": [["train"], ["train.py"]]}]
    assert (report["parameters"], report["settings"]) == ([], [])


async def test_metrics_stand_side_by_side_with_their_deltas(graph: Graph, make: Factory) -> None:
    train, report = (await compare(graph, await make_pair(make)))["stages"]
    assert {metric["name"]: (metric["values"], metric["deltas"]) for metric in train["metrics"]} == {
        "auc": ([0.9, 0.75], [0.0, pytest.approx(-0.15)]),
        "loss": (["NaN", None], ["NaN", None]),
        "accuracy": ([None, 0.5], [None, None]),
    }
    assert report["metrics"] == []


async def test_resources_have_deltas_where_both_are_known(graph: Graph, make: Factory) -> None:
    compared = await compare(graph, await make_pair(make))
    assert compared["resources"] == {
        "executionTime": {"values": [10.0, 7.5], "deltas": [0.0, -2.5]},
        "memoryUsage": {"deltas": [0.0, None]},
        "cpuUsage": {"deltas": [None, None]},
    }
    assert compared["stages"][0]["resources"] == {
        "executionTime": {"values": [8.0, 6.0], "deltas": [0.0, -2.0]},
        "memoryUsage": {"values": [512.0, 1024.0], "deltas": [0.0, 512.0]},
        "cpuUsage": {"deltas": [None, None]},
    }


async def test_datasets_at_the_same_path_show_changed_columns_and_rows(graph: Graph, make: Factory) -> None:
    [dataset] = (await compare(graph, await make_pair(make)))["stages"][0]["datasets"]
    assert dataset == {
        "relativePath": "datasets/train.csv",
        "datasets": [{"format": "csv"}] * 2,
        "rowCounts": [100, 96],
        "rowCountDeltas": [0, -4],
        "schemaDifferences": [
            {"added": [], "removed": [], "retyped": []},
            {
                "added": [{"name": "zip", "type": "string"}],
                "removed": [{"name": "city"}],
                "retyped": [{"name": "age", "oldType": "integer", "newType": "number"}],
            },
        ],
    }


async def test_reused_results_count_as_those_of_the_run(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    first, retry = [await make.run(pipeline_id) for _ in range(2)]
    source = await make.stage_run(first, stage_id, spec=spec())
    await make.metric(source, "loss", [0.5])
    await add_dataset(make, source, stage_id, 5, [])
    await make.stage_run(retry, stage_id, spec=spec(), reused_from_id=source)
    [stage] = (await compare(graph, [first, retry]))["stages"]
    assert stage["metrics"] == [{"name": "loss", "values": [0.5, 0.5], "deltas": [0.0, 0.0]}]
    assert stage["datasets"][0]["rowCounts"] == [5, 5]


async def test_ten_runs_cost_as_many_statements_as_two(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    ids = [run_id for _ in range(5) for run_id in await make_pair(make)]
    for compared in (ids[:2], ids):
        statements.clear()
        await compare(graph, compared)
        assert len(statements) == STATEMENTS


@pytest.mark.parametrize("number", [0, 1, 11])
async def test_two_to_ten_runs_can_be_compared(graph: Graph, number: int) -> None:
    refusal = await graph.refusal(COMPARE, ids=[str(uuid.uuid4()) for _ in range(number)])
    assert refusal["extensions"] == {"code": "BAD_INPUT", "argumentPath": ["ids"]}


async def test_each_id_must_name_another_run(graph: Graph, make: Factory) -> None:
    known = str(await make.run(await make.pipeline()))
    for other, code, path in (
        (known, "BAD_INPUT", ["ids"]),
        (str(uuid.uuid4()), "NOT_FOUND", ["ids", "1"]),
        ("nonsense", "NOT_FOUND", ["ids", "1"]),
    ):
        refusal = await graph.refusal(COMPARE, ids=[known, other])
        assert refusal["extensions"] == {"code": code, "argumentPath": path}
