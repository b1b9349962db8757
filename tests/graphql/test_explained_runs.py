"""``explanation``: what the rows say about a run and its stage runs, in one request."""

from __future__ import annotations

from typing import Any

from app.domain.statuses import Phase, RunStatus, StageStatus
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

EXPLAIN = """query($id: ID!) { run(id: $id) {
  explanation { cause summary becauseOf { name } until }
  stageRuns { name explanation { cause becauseOf { name } } } } }"""
STATEMENTS = 4


async def explained(graph: Graph, run_id: object) -> dict[str, Any]:
    return (await graph.data(EXPLAIN, id=str(run_id)))["run"]  # type: ignore[no-any-return]


async def test_stage_runs_of_a_running_run_say_why_they_are_where_they_are(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    await make.worker()
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id, RunStatus.RUNNING, max_concurrent_stages=1)
    first = await make.stage_run(run_id, stage_id, StageStatus.RUNNING, name="first")
    await make.stage_run(
        run_id, stage_id, StageStatus.PENDING, name="free", position=1, phase=Phase.READY, attempt_number=0
    )
    await make.stage_run(
        run_id, stage_id, StageStatus.PENDING, name="after", position=2, depends_on=[first], waiting_for=1
    )
    statements.clear()
    run = await explained(graph, run_id)
    assert len(statements) == STATEMENTS
    assert run["explanation"] == {
        "cause": "AT_WORK",
        "summary": "0 of 3 stages are over; at work: 'first'.",
        "becauseOf": [{"name": "first"}],
        "until": None,
    }
    assert {stage["name"]: stage["explanation"] for stage in run["stageRuns"]} == {
        "first": {"cause": "AT_WORK", "becauseOf": []},
        "free": {"cause": "WAITS_FOR_RUN_LIMIT", "becauseOf": [{"name": "first"}]},
        "after": {"cause": "WAITS_FOR_STAGES", "becauseOf": [{"name": "first"}]},
    }


async def test_a_waiting_run_says_whether_a_worker_is_alive(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id, RunStatus.PENDING)
    await make.worker(lease_until=NOON.replace(year=2020))
    assert (await explained(graph, run_id))["explanation"]["cause"] == "WAITS_FOR_WORKER"
    await make.worker()
    await make.run(pipeline_id, RunStatus.RUNNING)
    explanation = (await explained(graph, run_id))["explanation"]
    assert explanation["summary"] == "It waits to be started. Runs at work: 1; other runs waiting: 0."
