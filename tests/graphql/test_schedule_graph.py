"""Schedules in the graph."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.tables import schedules
from tests.factories import Factory
from tests.graphql.conftest import Graph
from tests.graphql.test_mutations import create, perform

FIELDS = """id name cron timeZone enabled missedPolicy runConfig environment tags nextRunAt lastRunAt lastError
  lastRun { id } pipeline { name } nextRuns(first: 3)"""
CREATE = f"""mutation($input: CreateScheduleInput!) {{ createSchedule(input: $input) {{
  schedule {{ {FIELDS} }} errors {{ code message path }} }} }}"""
UPDATE = f"""mutation($input: UpdateScheduleInput!) {{ updateSchedule(input: $input) {{
  schedule {{ {FIELDS} }} errors {{ code message path }} }} }}"""
DELETE = """mutation($input: DeleteScheduleInput!) { deleteSchedule(input: $input) {
  deletedScheduleId errors { code path } } }"""


async def scheduled(graph: Graph, **values: Any) -> dict[str, Any]:
    payload = await perform(
        graph, CREATE, pipelineId=await create(graph), **{"name": "nightly", "cron": "30 2 * * *", **values}
    )
    assert payload["errors"] == []
    return payload["schedule"]  # type: ignore[no-any-return]


async def test_a_schedule_is_created_with_its_next_runs(graph: Graph) -> None:
    schedule = await scheduled(graph, runConfig={"params": {"seed": 2}}, tags=["night"])
    assert (schedule["timeZone"], schedule["enabled"], schedule["missedPolicy"]) == ("UTC", True, "RUN_ONCE")
    assert (schedule["runConfig"], schedule["tags"]) == ({"params": {"seed": 2}}, ["night"])
    assert schedule["pipeline"] == {"name": "penguins"}
    first, second, third = map(dt.datetime.fromisoformat, schedule["nextRuns"])
    assert schedule["nextRuns"][0] == schedule["nextRunAt"]
    assert third - second == second - first == dt.timedelta(days=1)
    assert (first.hour, first.minute) == (2, 30)


async def test_an_error_names_the_field_and_a_remedy(graph: Graph) -> None:
    payload = await perform(
        graph, CREATE, pipelineId=await create(graph), name="x", cron="30 26 * * *", timeZone="Europe/Berln"
    )
    assert payload["schedule"] is None
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [
        ("BAD_INPUT", ["cron"]),
        ("BAD_INPUT", ["timeZone"]),
    ]
    assert "use 0-23" in payload["errors"][0]["message"]
    assert "Europe/Berlin" in payload["errors"][1]["message"]


async def test_a_text_that_the_database_can_not_store_is_refused(graph: Graph) -> None:
    payload = await perform(graph, CREATE, pipelineId=await create(graph), name="a\0b", cron="0 0 * * *")
    assert [error["path"] for error in payload["errors"]] == [["name"]]


async def test_an_update_changes_only_the_given_fields(graph: Graph) -> None:
    schedule = await scheduled(graph, tags=["night"], environment="staging")
    payload = await perform(
        graph,
        UPDATE,
        scheduleId=schedule["id"],
        cron="0 12 * * *",
        timeZone="Asia/Tokyo",
        environment=None,
        missedPolicy="SKIP",
    )
    assert payload["errors"] == []
    changed = payload["schedule"]
    assert (changed["name"], changed["tags"], changed["environment"]) == ("nightly", ["night"], None)
    assert (changed["timeZone"], changed["missedPolicy"]) == ("Asia/Tokyo", "SKIP")
    assert dt.datetime.fromisoformat(changed["nextRunAt"]).hour == 3


async def test_null_is_refused_where_it_removes_nothing(graph: Graph) -> None:
    schedule = await scheduled(graph, tags=["night"])
    names = ("name", "cron", "timeZone", "enabled", "missedPolicy")
    payload = await perform(graph, UPDATE, scheduleId=schedule["id"], tags=None, **dict.fromkeys(names))
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [
        ("BAD_INPUT", [name]) for name in names
    ]
    payload = await perform(graph, UPDATE, scheduleId=schedule["id"], tags=None, runConfig=None)
    assert (payload["errors"], payload["schedule"]["tags"]) == ([], None)


async def test_a_schedule_is_switched_off(graph: Graph) -> None:
    schedule = await scheduled(graph)
    payload = await perform(graph, UPDATE, scheduleId=schedule["id"], enabled=False)
    off = payload["schedule"]
    assert (off["enabled"], off["nextRunAt"], off["nextRuns"]) == (False, None, [])


async def test_a_schedule_is_deleted_once(graph: Graph) -> None:
    schedule = await scheduled(graph)
    assert await perform(graph, DELETE, scheduleId=schedule["id"]) == {
        "deletedScheduleId": schedule["id"],
        "errors": [],
    }
    again = await perform(graph, DELETE, scheduleId=schedule["id"])
    assert again["errors"] == [{"code": "NOT_FOUND", "path": ["scheduleId"]}]


@pytest.mark.parametrize("mutation", [UPDATE, DELETE])
async def test_an_id_of_something_else_is_not_found(graph: Graph, mutation: str) -> None:
    payload = await perform(graph, mutation, scheduleId=await create(graph))
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("NOT_FOUND", ["scheduleId"])]


async def test_next_runs_are_bounded(graph: Graph) -> None:
    schedule = await scheduled(graph)
    query = "query($id: ID!, $first: Int!) { schedule(id: $id) { nextRuns(first: $first) } }"
    assert len((await graph.data(query, id=schedule["id"], first=20))["schedule"]["nextRuns"]) == 20
    refused = await graph.refusal(query, id=schedule["id"], first=21)
    assert refused["extensions"]["code"] == "BAD_INPUT"


async def test_however_many_schedules_there_are_they_cost_the_same_statements(
    graph: Graph, make: Factory, engine: AsyncEngine, statements: list[str]
) -> None:
    for number in range(20):
        pipeline_id = await make.pipeline()
        async with engine.begin() as connection:
            await connection.execute(
                sa.insert(schedules),
                [
                    {
                        "pipeline_id": pipeline_id,
                        "name": f"{number} {name}",
                        "cron": "0 0 * * *",
                        "time_zone": "UTC",
                        "missed_policy": "SKIP",
                        "next_run_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
                        "last_run_id": await make.run(pipeline_id),
                    }
                    for name in ("a", "b")
                ],
            )
    query = """query($first: Int) { schedules(first: $first) { totalCount nodes {
      nextRuns lastRun { id status } pipeline { schedules(first: 5) { totalCount nodes { name } } } } } }"""
    counts = []
    for first in (1, 40):
        statements.clear()
        data = await graph.data(query, first=first)
        counts.append(len(statements))
        assert len(data["schedules"]["nodes"]) == first
        assert data["schedules"]["totalCount"] == 40
        for node in data["schedules"]["nodes"]:
            assert node["pipeline"]["schedules"]["totalCount"] == 2
            assert node["lastRun"]["status"] == "COMPLETED"
    assert counts == [6, 6]


async def test_a_schedule_is_a_node(graph: Graph) -> None:
    schedule = await scheduled(graph)
    query = "query($id: ID!) { node(id: $id) { id ... on Schedule { name } } }"
    assert (await graph.data(query, id=schedule["id"]))["node"] == {"id": schedule["id"], "name": "nightly"}
    pipeline = "query($id: ID!) { schedule(id: $id) { pipelineId pipeline { id } } }"
    found = (await graph.data(pipeline, id=schedule["id"]))["schedule"]
    assert found["pipelineId"] == found["pipeline"]["id"]
