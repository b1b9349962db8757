"""What the graph says about stages whose results were reused from the cache, and why others were executed."""

from __future__ import annotations

from typing import Any

from app.domain.cache.keys import key_changes
from app.domain.cache.misses import CacheMiss, MissReason, changed_since
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

QUERY = """query($id: ID!) { run(id: $id) { stageRuns {
  name cacheHit reusedFrom { id run { id } }
  explanation { cause summary cacheMiss { reason changeCount changes { part name summary } } } } } }"""

BEFORE = {"params": {"lr": 0.1}, "files": {"train.py": "1" * 64}, "env": {"TOKEN": "2" * 64}}
AFTER = {"params": {"lr": 0.2}, "files": {"train.py": "3" * 64}, "env": {"TOKEN": "4" * 64}}


async def stage_runs(graph: Graph, run_id: object) -> dict[str, Any]:
    run = (await graph.data(QUERY, id=str(run_id)))["run"]
    return {stage_run.pop("name"): stage_run for stage_run in run["stageRuns"]}


async def test_a_hit_names_the_execution_it_reuses(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    first, second = await make.run(pipeline_id), await make.run(pipeline_id)
    source = await make.stage_run(first, stage_id)
    await make.stage_run(second, stage_id, cache_hit=True, reused_from_id=source)
    found = await stage_runs(graph, second)
    assert found["train"] == {
        "cacheHit": True,
        "reusedFrom": {"id": global_id("StageRun", source), "run": {"id": global_id("Run", first)}},
        "explanation": {
            "cause": "TAKEN_OVER",
            "summary": "Its cache key is that of an earlier execution, whose results were reused.",
            "cacheMiss": None,
        },
    }


async def test_the_end_of_a_hit_says_that_no_attempt_decided(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    source = await make.stage_run(await make.run(pipeline_id), stage_id)
    run_id = await make.run(pipeline_id)
    hit = await make.stage_run(
        run_id, stage_id, cache_hit=True, reused_from_id=source, finish_reason=FinishReason.EXITED
    )
    await make.attempt(hit, finished_at=NOON)
    query = """query($id: ID!) { run(id: $id) { explanation { summary }
      stageRuns { end { finishReason summary attempt } attempts { attempt finishReason end { attempt } } } } }"""
    run = (await graph.data(query, id=str(run_id)))["run"]
    assert run["explanation"]["summary"] == (
        "Every stage succeeded, or failed with allowFailure. Reused from the cache: 'train'."
    )
    (stage_run,) = run["stageRuns"]
    assert stage_run["end"]["attempt"] is None
    assert "reused from the cache" in stage_run["end"]["summary"]
    assert stage_run["attempts"] == [{"attempt": 1, "finishReason": None, "end": None}]


async def test_the_event_of_a_hit_names_the_execution_it_reuses(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    source = await make.stage_run(await make.run(pipeline_id), stage_id)
    run_id = await make.run(pipeline_id, last_event_seq=2)
    stage_run_id = await make.stage_run(run_id, stage_id)
    for seq, payload in enumerate(({"reusedFromId": str(source)}, {}), 1):
        row = {"stage_run_id": stage_run_id, "payload": {"status": "COMPLETED", **payload}}
        await make.event(run_id, seq, "STAGE_FINISHED", **row)
    query = """query($id: ID!) { run(id: $id) { events { events {
      ... on StageFinished { cacheHit reusedFromId } } } } }"""
    events = (await graph.data(query, id=str(run_id)))["run"]["events"]["events"]
    assert events == [
        {"cacheHit": True, "reusedFromId": global_id("StageRun", source)},
        {"cacheHit": False, "reusedFromId": None},
    ]


async def test_a_miss_says_what_changed_and_never_the_value_of_a_variable(
    graph: Graph, make: Factory
) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    miss = changed_since(BEFORE, AFTER).as_json()
    await make.stage_run(run_id, await make.stage(pipeline_id), cache_miss=miss)
    explanation = (await stage_runs(graph, run_id))["train"]["explanation"]
    assert explanation == {
        "cause": "SUCCEEDED",
        "summary": "Attempt 1 succeeded. No earlier result was reused: since its last execution env.TOKEN "
        "changed; params.lr changed from 0.1 to 0.2; file train.py changed.",
        "cacheMiss": {
            "reason": "CHANGED",
            "changeCount": 3,
            "changes": [
                {"part": "ENVIRONMENT", "name": "TOKEN", "summary": "env.TOKEN changed"},
                {"part": "PARAMS", "name": "lr", "summary": "params.lr changed from 0.1 to 0.2"},
                {"part": "FILES", "name": "train.py", "summary": "file train.py changed"},
            ],
        },
    }


async def test_an_active_stage_run_already_says_why(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id, RunStatus.RUNNING)
    miss = CacheMiss(MissReason.BYPASSED).as_json()
    stage_id = await make.stage(pipeline_id)
    await make.stage_run(run_id, stage_id, StageStatus.RUNNING, cache_miss=miss)
    waiting = {"phase": Phase.READY, "cache_miss": miss, "position": 1, "name": "retry"}
    await make.stage_run(run_id, stage_id, StageStatus.PENDING, **waiting)
    found = await stage_runs(graph, run_id)
    assert found["train"]["explanation"]["summary"] == (
        "The process of attempt 1 is running. No earlier result was reused: its run was started with cache: false."
    )
    assert found["retry"]["explanation"]["cacheMiss"] is None


async def test_a_hundred_cached_stage_runs_cost_as_many_statements_as_two(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    source = await make.stage_run(await make.run(pipeline_id), stage_id)
    miss: dict[str, Any] = {"cache_miss": changed_since(BEFORE, AFTER).as_json()}
    hit: dict[str, Any] = {"cache_hit": True, "reused_from_id": source}
    counts = []
    for number in (1, 50):
        run_id = await make.run(pipeline_id)
        async with make.at_once():
            for position in range(number):
                await make.stage_run(run_id, stage_id, position=2 * position, name=f"m{position}", **miss)
                await make.stage_run(run_id, stage_id, position=2 * position + 1, name=f"h{position}", **hit)
        statements.clear()
        assert len(await stage_runs(graph, run_id)) == 2 * number
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_changes_are_listed_in_the_order_of_the_parts() -> None:
    assert [change.part.value for change in key_changes(BEFORE, AFTER)] == ["env", "params", "files"]
