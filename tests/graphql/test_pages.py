"""Connections: pages forwards and backwards, orders, filters, and what is refused."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from typing import Any

import pytest

from app.domain.vocabulary import ArtifactType, RunStatus, TriggerType
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

PAGE = """query Page($first: Int, $after: String, $last: Int, $before: String, $order: PipelineOrder! = NAME_ASC) {
  pipelines(first: $first, after: $after, last: $last, before: $before, orderBy: $order) {
    edges { cursor node { name } } nodes { name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
  }
}"""


def cursor_at(name: str) -> str:
    position = [1, "+name,id", name, str(uuid.uuid4())]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


async def page(graph: Graph, **arguments: Any) -> dict[str, Any]:
    connection: dict[str, Any] = (await graph.data(PAGE, **arguments))["pipelines"]
    return connection


def names(connection: dict[str, Any]) -> str:
    assert [edge["node"] for edge in connection["edges"]] == connection["nodes"]
    return "".join(node["name"] for node in connection["nodes"])


async def make_pipelines(make: Factory, *names: str) -> None:
    for name in names:
        await make.pipeline(name)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("NAME_ASC", "aabcd"),
        ("NAME_DESC", "dcbaa"),
        ("CREATED_AT_ASC", "cabda"),
        ("CREATED_AT_DESC", "adbac"),
    ],
)
async def test_pages_forwards_and_backwards_cover_the_list_exactly_once(
    graph: Graph, make: Factory, order: str, expected: str
) -> None:
    await make_pipelines(make, "c", "a", "b", "d", "a")
    forwards, after = "", None
    for left in (3, 1, 0):
        connection = await page(graph, first=2, after=after, order=order)
        forwards, after = forwards + names(connection), connection["pageInfo"]["endCursor"]
        assert connection["pageInfo"]["hasNextPage"] is (left > 0)
        assert connection["pageInfo"]["hasPreviousPage"] is (left < 3)
        assert connection["totalCount"] == 5
    assert forwards == expected
    backwards, before = "", None
    for left in (3, 1, 0):
        connection = await page(graph, last=2, before=before, order=order)
        backwards, before = names(connection) + backwards, connection["pageInfo"]["startCursor"]
        assert connection["pageInfo"]["hasPreviousPage"] is (left > 0)
        assert connection["pageInfo"]["hasNextPage"] is (left < 3)
    assert backwards == expected


async def test_the_cursor_of_an_edge_leads_to_the_next_node(graph: Graph, make: Factory) -> None:
    await make_pipelines(make, "a", "b", "c")
    edges = (await page(graph))["edges"]
    assert names(await page(graph, after=edges[0]["cursor"])) == "bc"
    assert names(await page(graph, before=edges[2]["cursor"])) == "ab"


async def test_an_empty_page_is_a_page(graph: Graph, make: Factory) -> None:
    nothing = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert (await page(graph))["pageInfo"] == nothing
    await make_pipelines(make, "a")
    assert (await page(graph, first=0))["pageInfo"] == {**nothing, "hasNextPage": True}


async def test_the_total_is_counted_only_if_selected(graph: Graph, statements: list[str]) -> None:
    await graph.data("{ pipelines { nodes { name } pageInfo { hasNextPage } } }")
    assert len(statements) == 1
    await graph.data("{ pipelines { totalCount } }")
    assert "count" in statements[-1]


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"first": 201}, "first"),
        ({"last": 201}, "last"),
        ({"first": -1}, "first"),
        ({"first": 1, "last": 1}, "last"),
        ({"after": "x", "before": "x"}, "before"),
        ({"last": 1, "after": "x"}, "after"),
        ({"first": 1, "before": "x"}, "before"),
        ({"after": ""}, "after"),
        ({"after": "nonsense"}, "after"),
        ({"before": "bm9uc2Vuc2U="}, "before"),
        ({"after": "W10="}, "after"),
        ({"after": "eyJhIjogMX0="}, "after"),
        ({"after": "WzEsICIrbmFtZSxpZCIsICJhIiwgMV0="}, "after"),
        ({"after": cursor_at("\0")}, "after"),
        ({"after": cursor_at("\ud800")}, "after"),
    ],
)
async def test_wrong_paging_arguments_are_refused_by_name(
    graph: Graph, arguments: dict[str, Any], argument: str
) -> None:
    result = await graph.result(PAGE, **arguments)
    assert result.errors is not None
    assert result.errors[0].formatted["extensions"] == {"code": "BAD_INPUT", "argumentPath": [argument]}


async def test_a_cursor_of_another_order_is_refused(graph: Graph, make: Factory) -> None:
    await make_pipelines(make, "a", "b")
    cursor = (await page(graph, order="NAME_DESC"))["pageInfo"]["endCursor"]
    assert "another order" in (await graph.refusal(PAGE, after=cursor))["message"]


async def test_each_parent_has_its_own_page_of_children(graph: Graph, make: Factory) -> None:
    wanted = {}
    for name, number in (("many", 5), ("one", 1), ("none", 0)):
        pipeline_id = await make.pipeline(name)
        runs = [await make.run(pipeline_id, notes=f"{name} {place}") for place in range(number)]
        wanted[name] = [global_id("Run", run_id) for run_id in runs]
    query = """query($after: String) { pipelines(orderBy: CREATED_AT_ASC) { nodes { name
                 runs(first: 2, after: $after, orderBy: CREATED_AT_ASC) {
                   nodes { id } totalCount pageInfo { hasNextPage endCursor } } } } }"""
    nodes = (await graph.data(query))["pipelines"]["nodes"]
    for node in nodes:
        runs = node["runs"]
        assert [run["id"] for run in runs["nodes"]] == wanted[node["name"]][:2]
        assert runs["totalCount"] == len(wanted[node["name"]])
        assert runs["pageInfo"]["hasNextPage"] is (node["name"] == "many")
    after = nodes[0]["runs"]["pageInfo"]["endCursor"]
    rest = (await graph.data(query, after=after))["pipelines"]["nodes"][0]["runs"]
    assert [run["id"] for run in rest["nodes"]] == wanted["many"][2:4]


async def test_runs_are_filtered_by_everything_given(graph: Graph, make: Factory) -> None:
    pipeline_id, other_id = await make.pipeline(), await make.pipeline("other")
    wanted = await make.run(
        pipeline_id,
        RunStatus.FAILED,
        tags=["nightly", "gpu"],
        environment="staging",
        trigger_type=TriggerType.SCHEDULED,
        created_at=NOON,
    )
    await make.run(other_id, created_at=NOON + dt.timedelta(days=1))
    filters = [
        {"status": ["FAILED", "CANCELLED"]},
        {"pipelineId": global_id("Pipeline", pipeline_id)},
        {"tags": ["gpu", "nightly"]},
        {"environment": "staging"},
        {"triggerType": "SCHEDULED"},
        {"createdBefore": (NOON + dt.timedelta(hours=1)).isoformat()},
        {"createdAfter": (NOON - dt.timedelta(hours=1)).isoformat(), "status": "FAILED"},
    ]
    query = "query($filter: RunFilter) { runs(filter: $filter) { nodes { id } totalCount } }"
    for given in filters:
        runs = (await graph.data(query, filter=given))["runs"]
        assert runs == {"nodes": [{"id": global_id("Run", wanted)}], "totalCount": 1}, given
    for given in (
        {"tags": ["gpu", "absent"]},
        {"status": []},
        {"status": "FAILED", "environment": "production"},
    ):
        assert (await graph.data(query, filter=given))["runs"]["totalCount"] == 0, given
    for nothing in (None, {}, {"status": None, "pipelineId": None}):
        assert (await graph.data(query, filter=nothing))["runs"]["totalCount"] == 2, nothing


async def test_nested_runs_are_filtered_too(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    await make.run(pipeline_id, RunStatus.FAILED)
    await make.run(pipeline_id, RunStatus.COMPLETED)
    data = await graph.data(
        """{ pipelines { nodes { failed: runs(filter: {status: FAILED}) { totalCount nodes { status } }
             done: runs(filter: {status: [COMPLETED]}) { totalCount nodes { status } } } } }"""
    )
    [pipeline] = data["pipelines"]["nodes"]
    assert pipeline["failed"] == {"totalCount": 1, "nodes": [{"status": "FAILED"}]}
    assert pipeline["done"] == {"totalCount": 1, "nodes": [{"status": "COMPLETED"}]}


@pytest.mark.parametrize(("text", "expected"), [("PEN", ["penguins"]), ("50%", ["50% off"]), ("_", [])])
async def test_a_part_of_a_name_finds_pipelines_literally(
    graph: Graph, make: Factory, text: str, expected: list[str]
) -> None:
    await make_pipelines(make, "penguins", "50% off", "500 off")
    data = await graph.data("query($n: String) { pipelines(filter: {name: $n}) { nodes { name } } }", n=text)
    assert [node["name"] for node in data["pipelines"]["nodes"]] == expected


async def test_artifacts_are_filtered_by_what_made_them(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id)
    stage_run_id = await make.stage_run(run_id, stage_id)
    await make.artifact(stage_run_id, stage_id, "Forest", artifact_type=ArtifactType.MODEL)
    other_id = await make.pipeline("other")
    other_stage = await make.stage(other_id)
    await make.artifact(
        await make.stage_run(await make.run(other_id), other_stage),
        other_stage,
        "curve",
        artifact_type=ArtifactType.PLOT,
    )
    query = "query($filter: ArtifactFilter) { artifacts(filter: $filter) { nodes { name } } }"
    for given in (
        {"artifactType": "MODEL"},
        {"name": "forest"},
        {"runId": global_id("Run", run_id)},
        {"stageRunId": str(stage_run_id)},
        {"pipelineId": global_id("Pipeline", pipeline_id), "status": ["READY"]},
    ):
        artifacts = (await graph.data(query, filter=given))["artifacts"]["nodes"]
        assert artifacts == [{"name": "Forest"}], given


async def test_datasets_and_models_are_filtered_by_their_details_and_their_artifact(
    graph: Graph, make: Factory
) -> None:
    made = {}
    for name in ("Wanted", "other"):
        pipeline_id = await make.pipeline(name)
        stage_id, run_id = await make.stage(pipeline_id), await make.run(pipeline_id)
        stage_run_id = await make.stage_run(run_id, stage_id)
        data = await make.artifact(stage_run_id, stage_id, f"{name} data")
        await make.dataset(data, format="CSV" if name == "Wanted" else "parquet")
        model = await make.artifact(stage_run_id, stage_id, f"{name} model")
        await make.model(
            model,
            algorithm="Random Forest" if name == "Wanted" else "boosting",
            framework="scikit-learn" if name == "Wanted" else "xgboost",
        )
        made[name] = {"runId": global_id("Run", run_id), "pipelineId": global_id("Pipeline", pipeline_id)}
    shared = [{"name": "wanted"}, *({key: value} for key, value in made["Wanted"].items()), made["Wanted"]]
    own = {
        "Dataset": [{"format": "csv"}],
        "Model": [{"algorithm": "forest"}, {"framework": "SCIKIT"}, {"algorithm": "random", "name": "model"}],
    }
    for kind, filters in own.items():
        field = f"{kind.lower()}s"
        query = f"query($f: {kind}Filter) {{ {field}(filter: $f) {{ totalCount nodes {{ artifact {{ name }} }} }} }}"
        for given in (*shared, *filters):
            found = (await graph.data(query, f=given))[field]
            names = [node["artifact"]["name"].partition(" ")[0] for node in found["nodes"]]
            assert (names, found["totalCount"]) == (["Wanted"], 1), given
        assert (await graph.data(query, f={**made["other"], **filters[0]}))[field]["nodes"] == []
        assert (await graph.data(query, f=None))[field]["totalCount"] == 2


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("runs", "pipelineId"),
        ("datasets", "runId"),
        ("models", "pipelineId"),
        ("artifacts", "runId"),
        ("artifacts", "stageRunId"),
        ("artifacts", "pipelineId"),
    ],
)
async def test_a_filter_by_a_text_that_is_no_id_is_refused(graph: Graph, field: str, name: str) -> None:
    for text in ("x", ""):
        error = await graph.refusal(f'{{ {field}(filter: {{{name}: "{text}"}}) {{ totalCount }} }}')
        assert error["extensions"] == {"code": "NOT_FOUND", "argumentPath": ["filter", name]}


async def test_a_time_without_an_offset_is_in_utc(graph: Graph, make: Factory) -> None:
    await make.run(await make.pipeline(), created_at=NOON)
    query = "query($t: DateTime) { runs(filter: {createdBefore: $t}) { totalCount } }"
    noon = NOON.replace(tzinfo=None).isoformat()
    for time, expected in (
        (noon, 0),
        (f"{noon}.000001", 1),
        (f"{noon}-01:00", 1),
        (f"{noon}+01:00", 0),
        ("0001-01-01", 0),
        ("9999-12-31T23:59:59Z", 1),
    ):
        assert (await graph.data(query, t=time))["runs"]["totalCount"] == expected, time


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "10000-01-01", "noon", "", 5, True, {}]
)
async def test_a_text_that_is_no_time_in_utc_is_refused_with_an_explanation(graph: Graph, time: Any) -> None:
    expected = (
        "DateTime must be a time in ISO 8601, like 2026-03-29T02:30:00+02:00, in the years 1 to 9999 of UTC."
    )
    literal = await graph.refusal(
        f"{{ runs(filter: {{createdBefore: {json.dumps(time)}}}) {{ totalCount }} }}"
    )
    assert (literal["message"], literal["extensions"]["code"]) == (expected, "BAD_REQUEST")
    query = "query($t: DateTime) { runs(filter: {createdAfter: $t}) { totalCount } }"
    variable = await graph.refusal(query, t=time)
    assert variable["message"].endswith(expected)
    assert variable["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("field", "condition", "path"),
    [
        ("runs", 'tags: ["fine", $t]', ["tags", "1"]),
        ("runs", "environment: $t", ["environment"]),
        ("pipelines", "name: $t", ["name"]),
        ("artifacts", "name: $t", ["name"]),
    ],
)
async def test_text_that_the_database_can_not_store_is_refused(
    graph: Graph, field: str, condition: str, path: list[str]
) -> None:
    query = f"query($t: String!) {{ {field}(filter: {{{condition}}}) {{ totalCount }} }}"
    for text in ("a\0b", "\ud800"):
        error = await graph.refusal(query, t=text)
        assert error["extensions"] == {"code": "BAD_INPUT", "argumentPath": ["filter", *path]}
