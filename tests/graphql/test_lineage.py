"""The lineage of artifacts, datasets, models and stage runs: what they were made from and what was made of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from app.database.columns import new_id
from app.domain.vocabulary import StageStatus
from app.graphql.shared.ids import global_id
from tests.factories import Factory
from tests.graphql.conftest import Graph

LINEAGE = """
  isTruncated
  nodes { nodeId depth artifact { name } stageRun { name } }
  edges { from to kind }"""


@dataclass
class Story:
    """``split`` writes train and test; ``train`` makes a model of train; ``report`` reads the model."""

    pipeline: uuid.UUID
    run: uuid.UUID
    stages: dict[str, uuid.UUID]
    stage_runs: dict[str, uuid.UUID]
    artifacts: dict[str, uuid.UUID]
    dataset: uuid.UUID
    model: uuid.UUID


@pytest.fixture
async def story(make: Factory) -> Story:
    pipeline = await make.pipeline()
    stages = {
        name: await make.stage(pipeline, name, order=n) for n, name in enumerate(("split", "train", "report"))
    }
    run = await make.run(pipeline)
    stage_runs: dict[str, uuid.UUID] = {}
    for name, needed in (("split", []), ("train", ["split"]), ("report", ["train"])):
        depends_on = [stage_runs[other] for other in needed]
        stage_runs[name] = await make.stage_run(run, stages[name], name=name, depends_on=depends_on)
    artifacts = {
        name: await make.artifact(stage_runs[stage], stages[stage], name)
        for name, stage in (
            ("train.csv", "split"),
            ("test.csv", "split"),
            ("model", "train"),
            ("page", "report"),
        )
    }
    dataset = await make.dataset(artifacts["train.csv"])
    model = await make.model(artifacts["model"], training_dataset_id=dataset)
    return Story(pipeline, run, stages, stage_runs, artifacts, dataset, model)


async def lineage(graph: Graph, type_name: str, key: uuid.UUID, arguments: str) -> Any:
    field = f"lineage({arguments}) {{ {LINEAGE} }}"
    document = f"query($id: ID!) {{ node(id: $id) {{ ... on {type_name} {{ {field} }} }} }}"
    return (await graph.data(document, id=global_id(type_name, key)))["node"]["lineage"]


def depths(found: Any) -> dict[str, int]:
    return {name_of(node): node["depth"] for node in found["nodes"]}


def edges(found: Any) -> set[tuple[str, str, str]]:
    names = {node["nodeId"]: name_of(node) for node in found["nodes"]}
    return {(names[edge["from"]], edge["kind"], names[edge["to"]]) for edge in found["edges"]}


def name_of(node: Any) -> str:
    return (node["artifact"] or node["stageRun"])["name"]


async def test_upstream_of_an_artifact_is_everything_it_was_made_from(graph: Graph, story: Story) -> None:
    found = await lineage(graph, "Artifact", story.artifacts["page"], "direction: UPSTREAM")
    assert depths(found) == {
        **{"page": 0, "report": 0},
        **{"model": 1, "train": 1},
        **{"train.csv": 2, "test.csv": 2, "split": 2},
    }
    assert edges(found) == {
        ("report", "WROTE", "page"),
        ("model", "READ", "report"),
        ("train", "WROTE", "model"),
        ("train.csv", "READ", "train"),
        ("test.csv", "READ", "train"),
        ("train.csv", "TRAINED_ON", "model"),
        ("split", "WROTE", "train.csv"),
        ("split", "WROTE", "test.csv"),
    }
    assert not found["isTruncated"]


async def test_downstream_of_an_artifact_is_everything_made_of_it_and_not_what_stood_beside_it(
    graph: Graph, story: Story
) -> None:
    found = await lineage(graph, "Artifact", story.artifacts["train.csv"], "direction: DOWNSTREAM")
    assert depths(found) == {"train.csv": 0, "train": 1, "model": 1, "report": 2, "page": 2}
    assert ("train.csv", "READ", "train") in edges(found)
    assert ("train.csv", "TRAINED_ON", "model") in edges(found)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("UPSTREAM", {"train", "split", "train.csv", "test.csv"}),
        ("DOWNSTREAM", {"train", "model", "report", "page"}),
        ("BOTH", {"train", "split", "train.csv", "test.csv", "model", "report", "page"}),
    ],
)
async def test_a_stage_run_has_a_lineage_in_each_direction(
    graph: Graph, story: Story, direction: str, expected: set[str]
) -> None:
    found = await lineage(graph, "StageRun", story.stage_runs["train"], f"direction: {direction}")
    assert set(depths(found)) == expected
    assert len(found["nodes"]) == len(expected), "each node is listed once"


async def test_datasets_and_models_have_the_lineage_of_their_artifacts(graph: Graph, story: Story) -> None:
    of_dataset = await lineage(graph, "Dataset", story.dataset, "direction: DOWNSTREAM, depth: 1")
    assert set(depths(of_dataset)) == {"train.csv", "train", "model"}
    of_model = await lineage(graph, "Model", story.model, "direction: UPSTREAM, depth: 0")
    assert set(depths(of_model)) == {"model", "train"}


async def test_depth_counts_stage_runs(graph: Graph, story: Story) -> None:
    found = await lineage(graph, "Artifact", story.artifacts["page"], "direction: UPSTREAM, depth: 1")
    assert set(depths(found)) == {"page", "report", "model", "train"}


async def test_a_model_leads_to_a_dataset_that_its_stage_did_not_depend_on(
    graph: Graph, make: Factory, story: Story
) -> None:
    run = await make.run(story.pipeline)
    stage_run = await make.stage_run(run, story.stages["train"], name="elsewhere")
    other = await make.artifact(stage_run, story.stages["train"], "other model")
    await make.model(other, training_dataset_id=story.dataset)
    up = await lineage(graph, "Artifact", other, "direction: UPSTREAM")
    assert edges(up) == {
        ("elsewhere", "WROTE", "other model"),
        ("train.csv", "TRAINED_ON", "other model"),
        ("split", "WROTE", "train.csv"),
    }
    down = await lineage(graph, "Artifact", story.artifacts["test.csv"], "direction: DOWNSTREAM")
    assert "other model" not in depths(down), "it was trained with the dataset beside this one"


async def test_a_reused_stage_run_stands_for_the_one_whose_results_it_reused(
    graph: Graph, make: Factory, story: Story
) -> None:
    run = await make.run(story.pipeline)
    reused = await make.stage_run(
        run, story.stages["split"], name="split again", reused_from_id=story.stage_runs["split"]
    )
    later = await make.stage_run(run, story.stages["train"], name="train again", depends_on=[reused])
    better = await make.artifact(later, story.stages["train"], "better model")
    up = await lineage(graph, "Artifact", better, "direction: UPSTREAM")
    assert set(depths(up)) == {"better model", "train again", "split", "train.csv", "test.csv"}
    down = await lineage(graph, "Artifact", story.artifacts["train.csv"], "direction: DOWNSTREAM")
    assert {"model", "better model"} <= set(depths(down))
    of_reused = await lineage(graph, "StageRun", reused, "direction: DOWNSTREAM, depth: 0")
    assert ("split", "REUSED", "split again") in edges(of_reused)
    assert set(depths(of_reused)) == {"split again", "split", "train.csv", "test.csv"}
    cut = await lineage(graph, "StageRun", reused, "direction: DOWNSTREAM, depth: 0, first: 2")
    assert (len(cut["nodes"]), cut["isTruncated"]) == (2, True)


async def test_a_registered_artifact_and_a_log_were_not_read_by_later_stages(
    graph: Graph, make: Factory, story: Story
) -> None:
    split = (story.stage_runs["split"], story.stages["split"])
    await make.artifact(*split, "note", attempt_number=0)
    await make.artifact(*split, "log", is_captured_log=True)
    found = await lineage(graph, "StageRun", story.stage_runs["train"], "direction: UPSTREAM")
    assert set(depths(found)) == {"train", "split", "train.csv", "test.csv"}
    found = await lineage(graph, "StageRun", story.stage_runs["split"], "direction: DOWNSTREAM, depth: 0")
    assert set(depths(found)) == {"split", "train.csv", "test.csv", "note"}


async def test_a_stage_that_never_ran_read_nothing(graph: Graph, make: Factory, story: Story) -> None:
    await make.stage_run(
        *(story.run, story.stages["report"], StageStatus.SKIPPED),
        name="skipped",
        depends_on=[story.stage_runs["train"]],
    )
    found = await lineage(graph, "Artifact", story.artifacts["model"], "direction: DOWNSTREAM")
    assert "skipped" not in depths(found)


async def test_more_than_the_wanted_nodes_are_cut_and_said_to_be(graph: Graph, story: Story) -> None:
    found = await lineage(graph, "Artifact", story.artifacts["page"], "direction: UPSTREAM, first: 3")
    assert [node["depth"] for node in found["nodes"]] == [0, 0, 1]
    assert found["isTruncated"]
    exact = await lineage(graph, "Artifact", story.artifacts["page"], "direction: UPSTREAM, first: 7")
    assert not exact["isTruncated"]


@pytest.mark.parametrize(
    ("arguments", "name"), [("depth: 21", "depth"), ("depth: -1", "depth"), ("first: 2001", "first")]
)
async def test_sizes_out_of_bounds_are_refused_by_name(
    graph: Graph, story: Story, arguments: str, name: str
) -> None:
    refusal = await graph.refusal(
        f"query($id: ID!) {{ artifact(id: $id) {{ lineage(direction: BOTH, {arguments}) {{ isTruncated }} }} }}",
        id=global_id("Artifact", story.artifacts["page"]),
    )
    assert refusal["extensions"] == {"code": "BAD_INPUT", "argumentPath": [name]}


async def test_the_lineages_of_many_artifacts_are_one_statement_per_direction(
    graph: Graph, story: Story, statements: list[str]
) -> None:
    await graph.data(
        "{ artifacts { nodes { lineage(direction: BOTH, depth: 10, first: 20) { nodes { depth } edges { kind } } } } }"
    )
    assert len(statements) == 3, "the artifacts, and one walk each way"


async def test_a_circle_of_training_ends(graph: Graph, make: Factory, story: Story) -> None:
    """Registered models may have been trained with data that was made of them."""
    back = await make.artifact(
        story.stage_runs["split"], story.stages["split"], "seed model", attempt_number=0
    )
    await make.model(back, training_dataset_id=await make.dataset(story.artifacts["page"]))
    found = await lineage(graph, "Artifact", story.artifacts["model"], "direction: BOTH, depth: 20")
    assert not found["isTruncated"]
    assert len(depths(found)) == len(found["nodes"])


async def test_a_wide_graph_costs_what_is_shown_of_it(graph: Graph, make: Factory, story: Story) -> None:
    async with make.at_once():
        for number in range(300):
            await make.stage_run(
                *(story.run, story.stages["report"]),
                id=new_id(),
                name=f"reader {number}",
                depends_on=[story.stage_runs["train"]],
            )
    found = await lineage(graph, "Artifact", story.artifacts["model"], "direction: DOWNSTREAM, first: 50")
    assert len(found["nodes"]) == 50
    assert found["isTruncated"]


async def test_artifacts_of_the_same_content_are_found_across_runs(
    graph: Graph, make: Factory, story: Story, statements: list[str]
) -> None:
    split = (story.stage_runs["split"], story.stages["split"])
    digest, other_digest = await make.blob(b"same"), await make.blob(b"other")
    for name, sha256 in (("first", digest), ("second", digest), ("alone", other_digest)):
        await make.artifact(*split, name, sha256=sha256)
    statements.clear()
    data = await graph.data(
        "{ artifacts(first: 3) { nodes { name sameContent { totalCount nodes { name } } } } }"
    )
    assert {node["name"]: node["sameContent"] for node in data["artifacts"]["nodes"]} == {
        "first": {"totalCount": 1, "nodes": [{"name": "second"}]},
        "second": {"totalCount": 1, "nodes": [{"name": "first"}]},
        "alone": {"totalCount": 0, "nodes": []},
    }
    assert len(statements) == 3, "the artifacts, their twins and the counts of those"
