"""``explanation``: what the rows say about a run and its stage runs, in one request."""

from __future__ import annotations

from typing import Any

from app.domain.vocabulary import Phase, RunStatus, StageStatus
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

EXPLAIN = """query($id: ID!) { run(id: $id) {
  explanation { cause summary becauseOf { name } until }
  stageRuns { name explanation { cause becauseOf { name } } } } }"""
STATEMENTS = 5


async def explained(graph: Graph, run_id: object) -> dict[str, Any]:
    return (await graph.data(EXPLAIN, id=str(run_id)))["run"]  # type: ignore[no-any-return]


async def test_stage_runs_of_a_running_run_explain_themselves(
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
        "summary": "0 of 3 stages have ended; active: 'first'.",
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
    assert explanation["summary"] == "It waits in the queue. RUNNING runs: 1; runs ahead of it: 0."


async def test_a_waiting_run_knows_its_position_in_the_queue(graph: Graph, make: Factory) -> None:
    await make.worker()
    pipeline_id, other = await make.pipeline(), await make.pipeline()
    await make.run(other, RunStatus.RUNNING, concurrency_key="gpu")
    await make.run(pipeline_id, RunStatus.RUNNING)
    wanted: dict[str, dict[str, Any]] = {
        "first": {},
        "second": {},
        "urgent": {"priority": 1},
        "keyed": {"concurrency_key": "gpu"},
        "limited": {"max_concurrent_runs": 1},
    }
    runs = {name: await make.run(pipeline_id, RunStatus.PENDING, **values) for name, values in wanted.items()}
    found = {name: (await explained(graph, run_id))["explanation"] for name, run_id in runs.items()}
    for name, ahead in (("urgent", 0), ("first", 1), ("second", 2)):
        assert found[name]["summary"].endswith(f"runs ahead of it: {ahead}.")
    assert found["keyed"]["summary"] == "A run with the same concurrency key is RUNNING."
    assert found["limited"]["cause"] == "WAITS_FOR_OTHER_RUNS"
