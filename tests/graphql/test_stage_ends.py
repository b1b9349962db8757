"""``end`` of stage runs and attempts, queues and cancels, from rows made by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

END = """query($id: ID!) { stageRun(id: $id) {
  end { attempt finishReason summary exitCode signal { number name } lastLogLines
    outOfMemory { confidence hostKills cgroupKills } stop { reason actor cameTooLate } stragglers { count names }
    peakProcessCount executionTime worker { pid } }
  attempts { end { attempt stop { actor } lastLogLines } } } }"""
QUEUE = (
    "query($id: ID!) { run(id: $id) { priority concurrencyKey queueDeadlineAt queuePosition cancelActor } }"
)
CANCEL = """mutation($input: CancelRunInput!) { cancelRun(input: $input) {
  run { status cancelReason cancelActor explanation { summary } } errors { code message path } } }"""


async def ended(make: Factory, status: StageStatus, reason: FinishReason, **values: Any) -> Any:
    """A stage run that has ended."""
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    stage_id = await make.stage(pipeline_id)
    return await make.stage_run(run_id, stage_id, status, finish_reason=reason, **values)


async def end_of(graph: Graph, stage_run_id: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.data(END, id=global_id("StageRun", stage_run_id)))["stageRun"]
    return found


@pytest.mark.parametrize(
    ("reason", "host", "cgroup", "confidence"),
    [
        (FinishReason.OUT_OF_MEMORY, 0, 0, "CERTAIN"),
        (FinishReason.OUT_OF_MEMORY, 2, 1, "LIKELY"),
        (FinishReason.OUT_OF_MEMORY, 2, 0, "POSSIBLE"),
        (FinishReason.EXITED, 1, 0, "POSSIBLE"),
        (FinishReason.EXITED, 0, 0, None),
    ],
)
async def test_the_counters_of_the_kernel_say_how_certain_a_lack_of_memory_is(
    graph: Graph, make: Factory, reason: FinishReason, host: int, cgroup: int, confidence: str | None
) -> None:
    stage_run_id = await ended(make, StageStatus.FAILED, reason, error_message="it died")
    evidence = {"oomKillsHost": host, "oomKillsCgroup": cgroup, "stragglersKilled": 0, "peakProcessCount": 7}
    await make.attempt(stage_run_id, finish_reason=reason, exit_code=1, evidence=evidence, wall_seconds=2.5)
    end = (await end_of(graph, stage_run_id))["end"]
    expected = confidence and {"confidence": confidence, "hostKills": host, "cgroupKills": cgroup}
    assert end["outOfMemory"] == expected
    assert (end["peakProcessCount"], end["executionTime"], end["stragglers"]) == (7, 2.5, None)
    assert end["summary"] == "It died, after 2.5 s."


async def test_a_stage_stopped_while_it_waited_for_another_attempt_does_not_blame_the_last_one(
    graph: Graph, make: Factory
) -> None:
    stop = {"stop_requested_at": NOON, "stop_reason": FinishReason.CANCELLED, "stop_actor": "ada"}
    stage_run_id = await ended(
        make, StageStatus.CANCELLED, FinishReason.CANCELLED, error_message="enough", **stop
    )
    await make.attempt(
        stage_run_id, finish_reason=FinishReason.EXITED, exit_code=3, log_tail="a\nb", finished_at=NOON
    )
    found = await end_of(graph, stage_run_id)
    end = found["end"]
    assert (end["attempt"], end["exitCode"], end["lastLogLines"]) == (None, None, [])
    assert end["stop"] == {"reason": "CANCELLED", "actor": "ada", "cameTooLate": False}
    (attempt,) = found["attempts"]
    assert attempt["end"]["lastLogLines"] == ["a", "b"]


async def test_reused_results_and_unfinished_stages_differ_from_ends(graph: Graph, make: Factory) -> None:
    taken = await ended(make, StageStatus.COMPLETED, FinishReason.EXITED, attempt_number=0)
    end = (await end_of(graph, taken))["end"]
    assert (end["attempt"], end["summary"]) == (None, "The results of an earlier run were reused.")
    hit = await ended(make, StageStatus.COMPLETED, FinishReason.EXITED, cache_hit=True)
    await make.attempt(hit, finished_at=NOON)
    end = (await end_of(graph, hit))["end"]
    cached = "The results of an earlier execution were reused from the cache."
    assert (end["attempt"], end["summary"]) == (None, cached)
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id, RunStatus.RUNNING)
    running = await make.stage_run(run_id, await make.stage(pipeline_id), StageStatus.RUNNING)
    await make.attempt(running)
    assert await end_of(graph, running) == {"end": None, "attempts": [{"end": None}]}


async def test_a_run_has_its_position_in_the_queue_and_what_decides_about_it(
    graph: Graph, make: Factory
) -> None:
    pipeline_id = await make.pipeline()
    await make.run(pipeline_id, RunStatus.PENDING)
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    values = {"priority": -3, "concurrency_key": "gpu", "queue_deadline_at": deadline}
    waiting = await make.run(pipeline_id, RunStatus.PENDING, **values)
    ended_run = await make.run(pipeline_id)
    assert (await graph.data(QUEUE, id=global_id("Run", waiting)))["run"] == {
        "priority": -3,
        "concurrencyKey": "gpu",
        "queueDeadlineAt": deadline.isoformat(),
        "queuePosition": 2,
        "cancelActor": None,
    }
    assert (await graph.data(QUEUE, id=global_id("Run", ended_run)))["run"]["queuePosition"] is None


async def test_a_cancel_stores_its_actor_and_reason(graph: Graph, make: Factory) -> None:
    run_id = await make.run(await make.pipeline(), RunStatus.RUNNING, open_stage_count=1)
    given = {"runId": global_id("Run", run_id), "reason": "too slow", "cancelledBy": "ada"}
    payload = (await graph.data(CANCEL, input=given))["cancelRun"]
    assert payload["errors"] == []
    assert (payload["run"]["cancelReason"], payload["run"]["cancelActor"]) == ("too slow", "ada")


async def test_a_cancel_names_the_stages_it_is_too_late_for(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id, RunStatus.RUNNING, open_stage_count=1)
    stage_id = await make.stage(pipeline_id)
    await make.stage_run(run_id, stage_id, StageStatus.RUNNING, name="train", phase=Phase.COLLECTING)
    payload = (await graph.data(CANCEL, input={"runId": global_id("Run", run_id)}))["cancelRun"]
    assert payload["run"]["status"] == "RUNNING"
    assert "Too late for 'train'" in payload["run"]["explanation"]["summary"]


async def test_a_cancel_of_an_ended_run_is_an_error_as_data(graph: Graph, make: Factory) -> None:
    run_id = await make.run(await make.pipeline(), RunStatus.COMPLETED)
    payload = (await graph.data(CANCEL, input={"runId": global_id("Run", run_id)}))["cancelRun"]
    assert payload == {
        "run": None,
        "errors": [
            {
                "code": "NOT_CANCELLABLE",
                "message": "the cancel came too late: the run has already ended and stays as it is",
                "path": ["runId"],
            }
        ],
    }


async def test_a_too_long_name_of_a_canceller_is_refused(graph: Graph, make: Factory) -> None:
    run_id = await make.run(await make.pipeline(), RunStatus.RUNNING, open_stage_count=1)
    given = {"runId": global_id("Run", run_id), "cancelledBy": "x" * 256}
    (error,) = (await graph.data(CANCEL, input=given))["cancelRun"]["errors"]
    assert (error["code"], error["path"]) == ("BAD_INPUT", ["cancelledBy"])
