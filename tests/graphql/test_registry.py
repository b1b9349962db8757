"""The model registry in the graph."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.graphql.shared.ids import global_id
from tests.factories import Factory
from tests.graphql.conftest import Graph
from tests.graphql.test_mutations import perform

ERRORS = "errors { code message path }"
MODEL = "registeredModel { id name description tags aliases { alias version isProtected } }"
REGISTER = f"""mutation($input: RegisterModelVersionInput!) {{ registerModelVersion(input: $input) {{
  modelVersion {{ id version note createdBy registeredModel {{ name }} model {{ id }} downloadUrl }} {ERRORS} }} }}"""
UPDATE = f"""mutation($input: UpdateRegisteredModelInput!) {{ updateRegisteredModel(input: $input) {{
  {MODEL} {ERRORS} }} }}"""
SET = f"mutation($input: SetModelAliasInput!) {{ setModelAlias(input: $input) {{ {MODEL} {ERRORS} }} }}"
BACK = f"""mutation($input: MoveModelAliasBackInput!) {{ moveModelAliasBack(input: $input) {{
  {MODEL} {ERRORS} }} }}"""
PROTECT = f"""mutation($input: ProtectModelAliasInput!) {{ protectModelAlias(input: $input) {{
  {MODEL} {ERRORS} }} }}"""
REMOVE = f"""mutation($input: DeleteModelAliasInput!) {{ deleteModelAlias(input: $input) {{
  {MODEL} {ERRORS} }} }}"""
DELETE = """mutation($input: DeleteModelVersionInput!) { deleteModelVersion(input: $input) {
  deletedModelVersionId errors { code message path } } }"""
OVERVIEW = """query($name: String!, $first: Int, $after: String) { registeredModel(name: $name) {
  name
  versions(first: $first, after: $after) {
    totalCount nodes { version note model { algorithm } aliases { alias } } pageInfo { hasNextPage endCursor } }
  aliases { alias version isProtected downloadUrl modelVersion { note } }
  history(first: $first, after: $after) {
    totalCount nodes { seq alias kind fromVersion toVersion isProtected actor reason }
    pageInfo { hasNextPage endCursor } } } }"""


async def model(make: Factory) -> str:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    stage_run_id = await make.stage_run(await make.run(pipeline_id), stage_id)
    return global_id("Model", await make.model(await make.artifact(stage_run_id, stage_id)))


async def versions(graph: Graph, make: Factory, count: int, name: str = "churn") -> list[str]:
    """Registers that many new models; returns the ids of their versions."""
    ids = []
    for number in range(1, count + 1):
        note = f"number {number}"
        payload = await perform(graph, REGISTER, name=name, modelId=await model(make), note=note)
        assert payload["errors"] == []
        ids.append(payload["modelVersion"]["id"])
    return ids


async def change(graph: Graph, document: str, expected: int | None, **values: Any) -> list[dict[str, Any]]:
    """Changes the alias champion; returns the aliases after it."""
    payload = await perform(
        graph, document, **{"name": "churn", "alias": "champion", "expectedVersion": expected, **values}
    )
    assert payload["errors"] == []
    return payload["registeredModel"]["aliases"]  # type: ignore[no-any-return]


async def test_a_model_is_registered_and_leads_to_its_version(graph: Graph, make: Factory) -> None:
    model_id = await model(make)
    wanted = {"name": "churn", "modelId": model_id, "note": "the first", "createdBy": "ada"}
    version = (await perform(graph, REGISTER, **wanted))["modelVersion"]
    assert version == {
        "id": version["id"],
        "version": 1,
        "note": "the first",
        "createdBy": "ada",
        "registeredModel": {"name": "churn"},
        "model": {"id": model_id},
        "downloadUrl": "/models/churn/1/content",
    }
    again = await perform(graph, REGISTER, **{**wanted, "note": "another"})
    assert again == {"modelVersion": version, "errors": []}
    found = await graph.data(
        """query($model: ID!, $version: ID!) {
          model: node(id: $model) { ... on Model { versions { nodes { id registeredModel { id name } } } } }
          version: node(id: $version) { ... on ModelVersion { version } } }""",
        model=model_id,
        version=version["id"],
    )
    assert found["version"] == {"version": 1}
    [of_model] = found["model"]["versions"]["nodes"]
    assert of_model["id"] == version["id"]
    by_id = await graph.data(
        "query($id: ID!) { node(id: $id) { id ... on RegisteredModel { name createdAt } } }",
        id=of_model["registeredModel"]["id"],
    )
    assert by_id["node"]["name"] == "churn"


async def test_an_alias_moves_forward_and_back_and_everything_is_in_the_history(
    graph: Graph, make: Factory
) -> None:
    await versions(graph, make, 2)
    assert await change(graph, SET, None, version=1) == [
        {"alias": "champion", "version": 1, "isProtected": False}
    ]
    await change(graph, SET, 1, version=2, reason="better", actor="ada")
    await change(graph, PROTECT, 2)
    [alias] = await change(graph, BACK, 2, reason="slow")
    assert alias == {"alias": "champion", "version": 1, "isProtected": True}
    await change(graph, PROTECT, 1, isProtected=False)
    assert await change(graph, REMOVE, 1) == []
    found = (await graph.data(OVERVIEW, name="churn", first=10))["registeredModel"]
    moves = [tuple(move.values())[2:] for move in found["history"]["nodes"]]
    assert moves == [
        ("REMOVED", 1, None, False, "API", None),
        ("UNPROTECTED", 1, 1, False, "API", None),
        ("MOVED_BACK", 2, 1, True, "API", "slow"),
        ("PROTECTED", 2, 2, True, "API", None),
        ("SET", 1, 2, False, "ada", "better"),
        ("SET", None, 1, False, "API", None),
    ]
    assert [move["seq"] for move in found["history"]["nodes"]] == [6, 5, 4, 3, 2, 1]


async def test_a_lost_race_is_a_conflict_that_says_where_the_alias_points(
    graph: Graph, make: Factory
) -> None:
    await versions(graph, make, 2)
    await change(graph, SET, None, version=1)
    for document, more in ((SET, {"version": 2}), (BACK, {}), (PROTECT, {}), (REMOVE, {})):
        payload = await perform(graph, document, name="churn", alias="champion", expectedVersion=2, **more)
        assert payload["registeredModel"] is None
        (error,) = payload["errors"]
        assert (error["code"], error["path"]) == ("CONFLICT", ["expectedVersion"])
        assert "points to version 1" in error["message"]
    (error,) = (await perform(graph, SET, name="churn", alias="other", expectedVersion=2, version=1))[
        "errors"
    ]
    assert error["code"] == "CONFLICT"
    assert "does not exist" in error["message"]


async def test_the_versions_and_the_history_come_in_pages(graph: Graph, make: Factory) -> None:
    await versions(graph, make, 12)
    for version in range(1, 13):
        await change(graph, SET, version - 1 or None, version=version)
    seen: dict[str, list[int]] = {"versions": [], "history": []}
    for connection, number in (("versions", "version"), ("history", "seq")):
        after = None
        while True:
            query = f"""query($after: String) {{ registeredModel(name: "churn") {{
              {connection}(first: 5, after: $after) {{
                totalCount nodes {{ {number} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"""
            page = (await graph.data(query, after=after))["registeredModel"][connection]
            assert page["totalCount"] == 12
            seen[connection] += [node[number] for node in page["nodes"]]
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
    assert seen == {"versions": list(range(12, 0, -1)), "history": list(range(12, 0, -1))}


async def test_cursors_of_another_list_are_refused(graph: Graph, make: Factory) -> None:
    await versions(graph, make, 1)
    for cursor in (
        "WzEsIi12ZXJzaW9uLGlkIiwieCIsIjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMCJd",
        "WzEsIi12ZXJzaW9uLGlkIiwiOTk5OTk5OTk5OTkiLCIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDAiXQ==",
    ):
        query = 'query($after: String) { registeredModel(name: "churn") { versions(after: $after) { totalCount } } }'
        error = await graph.refusal(query, after=cursor)
        assert (error["extensions"]["code"], error["extensions"]["argumentPath"]) == ("BAD_INPUT", ["after"])


async def test_registered_models_are_listed_by_name(graph: Graph, make: Factory) -> None:
    for name in ("fraud", "churn", "churn-eu"):
        await versions(graph, make, 1, name)
    query = """query($text: String) { registeredModels(filter: {name: $text}, first: 2) {
      totalCount nodes { name } pageInfo { hasNextPage } } }"""
    found = (await graph.data(query))["registeredModels"]
    assert found == {
        "totalCount": 3,
        "nodes": [{"name": "churn"}, {"name": "churn-eu"}],
        "pageInfo": {"hasNextPage": True},
    }
    assert (await graph.data(query, text="CHURN"))["registeredModels"]["totalCount"] == 2


@pytest.mark.parametrize("name", ["fraud", "a/b", "a\0b", ""])
async def test_there_is_no_registered_model_of_an_unknown_name(graph: Graph, name: str) -> None:
    query = "query($name: String!) { registeredModel(name: $name) { id } }"
    assert await graph.data(query, name=name) == {"registeredModel": None}


async def test_a_registered_model_is_described(graph: Graph, make: Factory) -> None:
    await versions(graph, make, 1)
    payload = await perform(graph, UPDATE, name="churn", description="Who leaves", tags=["crm", "eu"])
    assert payload["errors"] == []
    assert payload["registeredModel"]["tags"] == ["crm", "eu"]
    payload = await perform(graph, UPDATE, name="churn", tags=None)
    assert (payload["registeredModel"]["tags"], payload["registeredModel"]["description"]) == (
        None,
        "Who leaves",
    )
    payload = await perform(graph, UPDATE, name="fraud", tags=["a", "a"])
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("BAD_INPUT", ["tags", "1"])]


async def test_a_version_with_an_alias_is_not_deleted(graph: Graph, make: Factory) -> None:
    (version_id,) = await versions(graph, make, 1)
    await change(graph, SET, None, version=1)
    (error,) = (await perform(graph, DELETE, name="churn", version=1))["errors"]
    assert (error["code"], error["path"]) == ("NOT_DELETABLE", ["version"])
    assert "champion" in error["message"]
    await change(graph, REMOVE, 1)
    payload = await perform(graph, DELETE, name="churn", version=1)
    assert payload == {"deletedModelVersionId": version_id, "errors": []}


@pytest.mark.parametrize(
    ("values", "code", "path"),
    [
        ({"name": "a\0b"}, "BAD_INPUT", ["name"]),
        ({"alias": "3"}, "BAD_INPUT", ["alias"]),
        ({"reason": "a\0b"}, "BAD_INPUT", ["reason"]),
        ({"name": "fraud"}, "NOT_FOUND", ["name"]),
        ({"version": 7}, "NOT_FOUND", ["version"]),
        ({"version": -(2**31)}, "NOT_FOUND", ["version"]),
    ],
)
async def test_errors_name_the_field(
    graph: Graph, make: Factory, values: dict[str, Any], code: str, path: list[str]
) -> None:
    await versions(graph, make, 1)
    payload = await perform(graph, SET, **{"name": "churn", "alias": "champion", "version": 1, **values})
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [(code, path)]


async def test_an_unknown_model_is_not_registered(graph: Graph, make: Factory) -> None:
    for model_id in (global_id("Model", uuid.uuid4()), global_id("Run", uuid.uuid4())):
        payload = await perform(graph, REGISTER, name="churn", modelId=model_id)
        assert [(error["code"], error["path"]) for error in payload["errors"]] == [("NOT_FOUND", ["modelId"])]


async def test_many_versions_cost_as_many_statements_as_few(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    """One for the registered models, and one each for versions, models, aliases, names, history and counts."""
    query = """{ registeredModels(first: 10) { nodes { name
      versions(first: 10) { totalCount nodes { version downloadUrl model { algorithm } aliases { alias version } } }
      aliases { alias downloadUrl modelVersion { version } } history(first: 10) { nodes { alias toVersion } } } } }"""
    counts = []
    for size in (1, 6):
        for name in range(size):
            await versions(graph, make, size, f"model-{size}-{name}")
            await perform(graph, SET, name=f"model-{size}-{name}", alias="champion", version=size)
        statements.clear()
        await graph.data(query)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 9, counts
