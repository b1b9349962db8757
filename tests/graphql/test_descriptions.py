"""The descriptions of the graph are its public contract: what they promise is what the graph does.

``promises`` names the descriptions that a test of this file checks. ``KEPT_ELSEWHERE`` names the tests of other files.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    build_schema,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.tables import pipeline_runs, schedules
from app.domain.outcomes import AttemptOutcome
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.graphql.shared.context import ContextFactory
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph
from tests.graphql.test_mutations import CREATE, PENGUINS, create, perform, start
from tests.moved_runs import ByHand, stage

HERE = Path(__file__).parent
SCHEMA = build_schema((HERE.parents[1] / "schema.graphql").read_text(encoding="utf-8"))

Test = TypeVar("Test", bound=Callable[..., object])
PROMISED: list[tuple[str, str]] = []

KEPT_ELSEWHERE = [
    (
        "Artifact.sha256",
        "null if they are stored elsewhere",
        "test_bytes_stored_elsewhere_have_an_address_only",
    ),
    (
        "BigInt",
        "Input may also be a string of digits.",
        "test_large_sizes_special_numbers_and_times_keep_their_values",
    ),
    ("Cause.WAITS_FOR_WORKER", "No worker is alive.", "test_a_waiting_run_says_whether_a_worker_is_alive"),
    ("DateTime", "so is input without an offset", "test_a_time_without_an_offset_is_in_utc"),
    (
        "DatasetComparison.rowCountDeltas",
        "null where one of the two is not known",
        "test_datasets_at_the_same_path",
    ),
    (
        "MetricPointBatch.cursor",
        "resume after this batch",
        "test_points_resume_after_a_cursor_in_bounded_batches",
    ),
    ("MetricValue", '"NaN"', "test_large_sizes_special_numbers_and_times_keep_their_values"),
    ("Mutation.deleteRun", "while another run reuses results", "test_a_run_whose_results_another_one_reuses"),
    ("Mutation.registerArtifact", "no input of later stages", "test_registered_artifacts_are_no_inputs"),
    ("PageInfo.startCursor", "null if the page is empty", "test_an_empty_page_is_a_page"),
    ("Query.compareRuns(ids)", "Global ids of 2 to 10 runs", "test_two_to_ten_runs_can_be_compared"),
    ("ResyncRequired", "removed by retention", "test_events_removed_by_retention_are_named"),
    (
        "Run.canCancel",
        "its cancel has not been requested",
        "test_a_run_says_whether_it_can_be_cancelled_or_retried",
    ),
    ("Run.canRetry", "True if it has ended.", "test_a_run_says_whether_it_can_be_cancelled_or_retried"),
    ("Run.queuePosition", "from 1; null unless it is PENDING", "test_a_run_has_its_position_in_the_queue"),
    (
        "Run.outputData",
        "null until it has ended",
        "test_a_run_that_has_ended_holds_what_its_completed_stages_reported",
    ),
    ("Run.outputData", "if no stage reported any", "test_a_run_whose_stages_reported_nothing_holds_nothing"),
    (
        "Run.outputData",
        "beyond a total of 1 MiB",
        "test_results_that_are_too_large_together_are_null_from_there_on",
    ),
    ("RunFilter.tags", "has all of these tags", "test_runs_are_filtered_by_everything_given"),
    (
        "RunsChangedBatch.deletedRunIds",
        "only `pipelineId` applies",
        "test_of_a_deleted_run_only_the_pipeline",
    ),
    (
        "RunsChangedBatch.otherRunIds",
        "do not match the filter now",
        "test_a_run_that_no_longer_matches_is_named",
    ),
    ("Schedule.nextRunAt", "null while it is switched off", "test_a_schedule_is_switched_off"),
    ("Schedule.nextRuns(first)", "from 0 to 20", "test_next_runs_are_bounded"),
    ("StageEnd.attempt", "null if none did", "test_a_stage_stopped_while_it_waited_for_another_attempt"),
    ("StageRun.log(maxBytes)", "4 to 1048576", "test_a_log_is_read_in_whole_characters"),
    (
        "StageRun.metricPoints",
        "the last point of each interval",
        "test_a_long_series_of_a_metric_keeps_its_last",
    ),
    (
        "StageRun.resourceSamples",
        "highest values of its interval",
        "test_a_long_series_of_samples_keeps_its_peaks",
    ),
    (
        "Subscription.metricPoints",
        "It completes when the run has ended",
        "test_points_arrive_as_they_are_recorded",
    ),
    (
        "Subscription.resourceSamples",
        "It completes when the run has ended",
        "test_samples_arrive_as_they_are_taken",
    ),
    ("Subscription.runEvents", "each event once and in order", "test_no_event_is_lost_or_repeated"),
    (
        "Subscription.runEvents",
        "It completes when the run has ended",
        "test_all_events_of_an_ended_run_are_delivered",
    ),
    (
        "Subscription.runsChanged",
        "begins a few seconds in the past",
        "test_a_change_just_before_the_stream_begins",
    ),
    ("Subscription.stageLog", "begins at offset 0", "test_a_retry_begins_at_offset_0_of_the_next_attempt"),
    (
        "Subscription.stageLog",
        "It completes when the stage run has ended",
        "test_a_log_is_followed_while_it_grows",
    ),
    ("Subscription.systemSamples", "once per second", "test_samples_come_once_per_second_and_are_shared"),
    (
        "UpdatePipelineInput.stages",
        "keeps its id",
        "test_a_stage_keeps_its_identity_when_the_list_is_replaced",
    ),
    (
        "StageRun.startedAt",
        "of its first attempt",
        "test_a_stage_run_keeps_its_first_start_and_each_attempt_its_own",
    ),
    (
        "TriggerType.MANUAL",
        "the command line or with the GraphiQL page",
        "test_the_client_decides_what_triggered_a_run",
    ),
]
"""(coordinate, words of its description, how the name of the test begins that holds them)."""


def promises(coordinate: str, words: str) -> Callable[[Test], Test]:
    """The test holds these words in the description of ``Type.field``, ``Type.field(argument)`` or ``Enum.VALUE``."""
    PROMISED.append((coordinate, words))
    return lambda test: test


def description_of(coordinate: str) -> str:
    type_name, _, rest = coordinate.partition(".")
    field_name, _, argument = rest.rstrip(")").partition("(")
    found: Any = SCHEMA.type_map[type_name]
    if field_name:
        found = members_of(found)[field_name]
    if argument:
        found = found.args[argument]
    return " ".join((found.description or "").split())


def members_of(found: GraphQLNamedType) -> Any:
    if isinstance(found, GraphQLEnumType):
        return found.values
    assert isinstance(found, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType))
    return found.fields


@pytest.fixture
async def by_hand(engine: AsyncEngine, contexts: ContextFactory) -> ByHand:
    """A worker that claims stages and reports their attempts, without any process."""
    host_id = new_id()
    worker_id = await Factory(engine).worker(
        host_id=host_id, cpus=100.0, lease_until=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    )
    return ByHand(engine, contexts.notifier, worker_id, host_id)


async def node(graph: Graph, type_name: str, key: uuid.UUID, fields: str) -> dict[str, Any]:
    data = await graph.data(
        f"query($id: ID!) {{ node(id: $id) {{ ... on {type_name} {{ {fields} }} }} }}",
        id=global_id(type_name, key),
    )
    found: dict[str, Any] = data["node"]
    return found


# Life of a run


@promises("Run.startedAt", "When it left the queue: a worker made it RUNNING; null before.")
@promises("Run.deadlineAt", "null while it is PENDING")
@promises("Run.completedAt", "null before")
@promises("Run.executionTime", "Seconds from `startedAt` to `completedAt`; null until it has ended.")
@promises("Run.finishReason", "Why it ended; null before.")
@promises("FinishReason.EXITED", "Of a run: it succeeded")
async def test_a_run_has_its_times_as_it_moves(graph: Graph, by_hand: ByHand) -> None:
    fields = "status startedAt deadlineAt completedAt executionTime finishReason"
    run_id = await by_hand.queue(await by_hand.pipeline(stage("train")))
    assert await node(graph, "Run", run_id, fields) == {
        "status": "PENDING",
        "startedAt": None,
        "deadlineAt": None,
        "completedAt": None,
        "executionTime": None,
        "finishReason": None,
    }
    await by_hand.begin()
    running = await node(graph, "Run", run_id, fields)
    assert running["status"] == "RUNNING"
    assert running["startedAt"] is not None, "no stage has started, but the run has left the queue"
    assert running["deadlineAt"] > running["startedAt"]
    assert (running["completedAt"], running["executionTime"], running["finishReason"]) == (None, None, None)
    await by_hand.complete_all()
    ended = await node(graph, "Run", run_id, fields)
    assert (ended["status"], ended["finishReason"]) == ("COMPLETED", "EXITED")
    started, completed = (dt.datetime.fromisoformat(ended[name]) for name in ("startedAt", "completedAt"))
    assert ended["executionTime"] == pytest.approx((completed - started).total_seconds(), abs=0.01)


@promises("RunEvent.seq", "1, 2, 3 and so on, without gaps")
@promises("RunFinished.finishReason", "Why the run ended.")
@promises("RunProgress.previousRunStatus", "null if it had none")
@promises("Run.events", "oldest first")
async def test_the_events_of_a_run_are_numbered_without_gaps(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("load"), stage("train", ["load"]))
    await by_hand.complete_all()
    found = await node(
        graph,
        "Run",
        run_id,
        "events { events { seq at ... on RunProgress { previousRunStatus } ... on RunFinished { finishReason } } }",
    )
    events = found["events"]["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert sorted(event["at"] for event in events) == [event["at"] for event in events]
    assert (events[0]["previousRunStatus"], events[-1]["finishReason"]) == (None, "EXITED")


FIGURES = "memoryUsage cpuUsage executionTime metrics logs exitCode outputData outputsUrl"


@promises("StageRun.memoryUsage", "in MB of 1024 x 1024 bytes; null until it has ended")
@promises("StageRun.cpuUsage", "Average CPU use of its last attempt in percent of one core")
@promises("StageRun.executionTime", "null until it has ended")
@promises("StageRun.metrics", "null unless it is COMPLETED")
@promises("StageRun.logs", "of its last attempt")
@promises("StageRun.outputData", "null unless it is COMPLETED")
@promises("StageRun.outputsUrl", "null unless it is COMPLETED")
@promises(
    "Run.maxMemoryUsage", "Highest memory use of a single attempt of its stages, in MB of 1024 x 1024 bytes."
)
@promises("Run.maxCpuUsage", "Highest CPU use of a single attempt of its stages, in percent of one core.")
@promises("StageAttempt.peakCpuPercent", "Highest CPU use")
@promises("StageAttempt.cpuSeconds", "in seconds")
async def test_the_figures_of_a_stage_run_are_those_of_its_last_attempt(
    graph: Graph, by_hand: ByHand
) -> None:
    run_id = await by_hand.started(stage("train", retries={"limit": 1, "delay": 0}))
    first = await by_hand.claimed("train")
    nothing: dict[str, Any] = dict.fromkeys(FIGURES.split())
    assert await node(graph, "StageRun", first.id, FIGURES) == nothing
    used = AttemptOutcome(
        FinishReason.EXITED,
        exit_code=3,
        wall_seconds=4.0,
        cpu_seconds=6.0,
        peak_memory_bytes=3 * 2**20,
        peak_cpu_percent=700.0,
        log_tail="first\n",
    )
    await by_hand.fail(first, used)
    assert await node(graph, "StageRun", first.id, FIGURES) == nothing, "another attempt follows"
    await by_hand.make_due(run_id)
    last = replace(
        used, exit_code=0, cpu_seconds=2.0, peak_memory_bytes=2**20, peak_cpu_percent=90.0, log_tail="last\n"
    )
    await by_hand.complete(
        await by_hand.claimed("train"), outcome=last, metrics={"loss": 0.5}, output_data={"rows": 3}
    )
    assert await node(graph, "StageRun", first.id, FIGURES) == {
        "memoryUsage": 1.0,
        "cpuUsage": 50.0,
        "executionTime": 4.0,
        "metrics": {"loss": 0.5},
        "logs": "last\n",
        "exitCode": 0,
        "outputData": {"rows": 3},
        "outputsUrl": f"/stage-runs/{first.id}/outputs.tar",
    }
    peaks = await node(graph, "Run", run_id, "maxMemoryUsage maxCpuUsage")
    assert peaks == {"maxMemoryUsage": 3.0, "maxCpuUsage": 700.0}
    attempts = (await node(graph, "StageRun", first.id, "attempts { peakCpuPercent cpuSeconds }"))["attempts"]
    assert [attempt["peakCpuPercent"] for attempt in attempts] == [700.0, 90.0]
    assert [attempt["cpuSeconds"] for attempt in attempts] == [6.0, 2.0]


@promises("StageRun.notBefore", "null unless it waits for a retry")
@promises("StageRun.errorMessage", "null if nothing did")
@promises("StageRun.worker", "null before the first attempt and while it waits for a retry")
@promises("StageRun.attemptNumber", "0 before the first")
@promises("StageRun.attempts", "oldest first")
async def test_a_stage_run_that_waits_for_a_retry_says_so(graph: Graph, by_hand: ByHand) -> None:
    fields = "notBefore errorMessage worker { id } attemptNumber attempts { attempt }"
    run_id = await by_hand.started(stage("train", retries={"limit": 1, "delay": 60}))
    stage_run_id = (await by_hand.stages(run_id))["train"].id
    waiting: dict[str, Any] = {
        "notBefore": None,
        "errorMessage": None,
        "worker": None,
        "attemptNumber": 0,
        "attempts": [],
    }
    assert await node(graph, "StageRun", stage_run_id, fields) == waiting
    await by_hand.fail(await by_hand.claimed("train"))
    failed = await node(graph, "StageRun", stage_run_id, fields)
    assert dt.datetime.fromisoformat(failed["notBefore"]) > dt.datetime.now(dt.UTC)
    assert failed["errorMessage"] is not None
    assert (failed["worker"], failed["attemptNumber"]) == (None, 1)
    await by_hand.make_due(run_id)
    await by_hand.complete(await by_hand.claimed("train"))
    done = await node(graph, "StageRun", stage_run_id, fields)
    assert (done["notBefore"], done["errorMessage"], done["attemptNumber"]) == (None, None, 2)
    assert done["worker"] == {"id": global_id("Worker", by_hand.worker_id)}
    assert [attempt["attempt"] for attempt in done["attempts"]] == [1, 2]


@promises("Stage.dependencies", "One with `allowFailure` may also fail.")
@promises("StageRun.allowFailure", "the run continues and may succeed when it fails")
@promises("RunStatus.COMPLETED", "Every stage succeeded, or failed with `allowFailure`.")
@promises("Run.successCount", "COMPLETED")
@promises("Run.failedCount", "FAILED")
async def test_a_failure_that_is_allowed_lets_the_run_succeed(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("check", allowFailure=True), stage("train", ["check"]))
    await by_hand.complete_all(but="check")
    found = await node(graph, "Run", run_id, "status successCount failedCount stageRuns { name status }")
    assert found == {
        "status": "COMPLETED",
        "successCount": 1,
        "failedCount": 1,
        "stageRuns": [{"name": "check", "status": "FAILED"}, {"name": "train", "status": "COMPLETED"}],
    }


@promises("StageStatus.SKIPPED", "It never started, because a stage it depends on did not succeed.")
@promises("FinishReason.UPSTREAM_FAILED", "A stage it depends on did not succeed.")
@promises("RunStatus.FAILED", "A stage without `allowFailure` failed")
async def test_what_depends_on_a_failed_stage_is_skipped(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("load"), stage("train", ["load"]))
    await by_hand.complete_all(but="load")
    found = await node(
        graph, "Run", run_id, "status stageRuns { status finishReason startedAt attemptNumber }"
    )
    assert found["status"] == "FAILED"
    skipped = {"status": "SKIPPED", "finishReason": "UPSTREAM_FAILED", "startedAt": None, "attemptNumber": 0}
    assert found["stageRuns"][1] == skipped


@promises("StageRun.position", "from 0: by the `order` of the stages")
@promises("Run.stageRuns", "by `position`")
@promises("StageInput.order", "when left out the smallest free one, in the order of `stages`")
@promises("Pipeline.stages", "by `order`")
async def test_stages_have_the_order_given_or_that_of_their_list(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("report", ["train"]), stage("train"), {**stage("load"), "order": 0})
    fields = "stageRuns { name position } pipeline { stages { name order } }"
    found = await node(graph, "Run", run_id, fields)
    names = ["load", "report", "train"]
    assert found["stageRuns"] == [{"name": name, "position": number} for number, name in enumerate(names)]
    assert found["pipeline"]["stages"] == [
        {"name": name, "order": number} for number, name in enumerate(names)
    ]


# Pipelines show their newest run


@promises("Pipeline.status", "Status of its newest run; PENDING if it has none.")
@promises("Pipeline.executionTime", "null until it has ended")
@promises("Stage.status", "Status of its newest stage run; PENDING if it has none.")
@promises("Stage.outputPath", "null unless that is COMPLETED")
async def test_a_pipeline_shows_its_newest_run(graph: Graph, by_hand: ByHand) -> None:
    fields = "status startedAt executionTime stages { status outputPath }"
    pipeline_id = await by_hand.pipeline(stage("train"))
    new = {
        "status": "PENDING",
        "startedAt": None,
        "executionTime": None,
        "stages": [{"status": "PENDING", "outputPath": None}],
    }
    assert await node(graph, "Pipeline", pipeline_id, fields) == new
    await by_hand.queue(pipeline_id)
    await by_hand.begin()
    await by_hand.complete_all()
    shown = await node(graph, "Pipeline", pipeline_id, fields)
    assert (shown["status"], shown["stages"][0]["status"]) == ("COMPLETED", "COMPLETED")
    assert shown["executionTime"] is not None
    assert shown["stages"][0]["outputPath"] is not None
    await by_hand.queue(pipeline_id)
    assert await node(graph, "Pipeline", pipeline_id, fields) == new


@promises("Mutation.updatePipeline", "Existing runs keep the definition they started with.")
@promises("Run.definition", "The definition of the pipeline when the run was created.")
@promises("Stage.isActive", "False if the pipeline no longer has it and only old runs refer to it.")
async def test_a_run_keeps_its_definition_when_the_pipeline_changes(graph: Graph, by_hand: ByHand) -> None:
    pipeline_id = await by_hand.pipeline(stage("load"), stage("train", ["load"]))
    run_id = await by_hand.queue(pipeline_id)
    update = "mutation($input: UpdatePipelineInput!) { updatePipeline(input: $input) { errors { code } } }"
    only = {"name": "load", "stageType": "DATA_INGESTION", "config": {"command": ["true"]}}
    payload = await perform(graph, update, pipelineId=global_id("Pipeline", pipeline_id), stages=[only])
    assert payload["errors"] == []
    fields = "definition stageRuns { name stage { isActive } } pipeline { stages { name } }"
    run = await node(graph, "Run", run_id, fields)
    assert [stage["name"] for stage in run["definition"]["stages"]] == ["load", "train"]
    assert [stage_run["stage"]["isActive"] for stage_run in run["stageRuns"]] == [True, False]
    assert run["pipeline"]["stages"] == [{"name": "load"}]


# Deletions


@promises(
    "Mutation.deletePipeline",
    "Delete a pipeline with its schedules and webhooks. It must have no active runs.",
)
@promises("DeletePipelineInput.deleteRuns", "If false, a pipeline with runs is not deleted.")
async def test_a_pipeline_is_deleted_with_its_schedules_and_webhooks(
    graph: Graph, make: Factory, engine: AsyncEngine
) -> None:
    pipeline_id = await make.pipeline()
    schedule_id, webhook_id = await make.schedule(pipeline_id), await make.webhook(pipeline_id)
    run_id = await make.run(pipeline_id, RunStatus.RUNNING, open_stage_count=1)
    delete = """mutation($input: DeletePipelineInput!) { deletePipeline(input: $input) {
      deletedPipelineId errors { code } } }"""
    gid = global_id("Pipeline", pipeline_id)
    payload = await perform(graph, delete, pipelineId=gid, deleteRuns=True)
    assert payload == {"deletedPipelineId": None, "errors": [{"code": "PIPELINE_IN_USE"}]}
    await end(engine, run_id)
    payload = await perform(graph, delete, pipelineId=gid)
    assert payload == {"deletedPipelineId": None, "errors": [{"code": "PIPELINE_IN_USE"}]}
    payload = await perform(graph, delete, pipelineId=gid, deleteRuns=True)
    assert payload == {"deletedPipelineId": gid, "errors": []}
    ids = [global_id("Schedule", schedule_id), global_id("Webhook", webhook_id), global_id("Run", run_id)]
    assert await graph.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids) == {
        "nodes": [None] * 3
    }


async def end(engine: AsyncEngine, run_id: uuid.UUID) -> None:
    async with engine.begin() as connection:
        statement = sa.update(pipeline_runs).where(pipeline_runs.c.id == run_id)
        await connection.execute(
            statement.values(status=RunStatus.COMPLETED, completed_at=NOON, open_stage_count=0)
        )


@promises("DeleteScheduleInput.scheduleId", "its runs stay")
@promises("DeleteWebhookInput.webhookId", "its runs stay")
async def test_the_runs_of_a_deleted_schedule_or_webhook_stay(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    schedule_id = await make.schedule(pipeline_id, last_run_id=run_id)
    webhook_id = await make.webhook(pipeline_id)
    document = """mutation($schedule: ID!, $webhook: ID!) {
      deleteSchedule(input: {scheduleId: $schedule}) { errors { code } }
      deleteWebhook(input: {webhookId: $webhook}) { errors { code } } }"""
    ids = {"schedule": global_id("Schedule", schedule_id), "webhook": global_id("Webhook", webhook_id)}
    deleted: dict[str, Any] = {"errors": []}
    assert await graph.data(document, **ids) == {"deleteSchedule": deleted, "deleteWebhook": deleted}
    assert await node(graph, "Run", run_id, "status") == {"status": "COMPLETED"}


@promises("Schedule.lastRun", "null before the first, or if that run was deleted")
async def test_a_schedule_forgets_a_deleted_run(graph: Graph, make: Factory, engine: AsyncEngine) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    # Another run, which the schedule did not start.
    await make.run(pipeline_id)
    schedule_id = await make.schedule(pipeline_id)
    assert await node(graph, "Schedule", schedule_id, "lastRun { id }") == {"lastRun": None}
    async with engine.begin() as connection:
        await connection.execute(sa.update(schedules).values(last_run_id=run_id))
    shown = await node(graph, "Schedule", schedule_id, "lastRun { id }")
    assert shown == {"lastRun": {"id": global_id("Run", run_id)}}
    delete = "mutation($input: DeleteRunInput!) { deleteRun(input: $input) { errors { code } } }"
    assert (await perform(graph, delete, runId=global_id("Run", run_id)))["errors"] == []
    assert await node(graph, "Schedule", schedule_id, "lastRun { id }") == {"lastRun": None}


# Defaults


@promises("StartRunInput.environment", "that of the server when left out")
async def test_a_run_is_in_the_environment_of_the_server(graph: Graph) -> None:
    graph.contexts = replace(graph.contexts, environment="staging")
    assert (await start(graph))["environment"] == "staging"
    assert (await start(graph, environment="production"))["environment"] == "production"


@promises("CancelRunInput.cancelledBy", "API when left out")
@promises("Mutation.cancelRun", "its waiting stages end at once")
@promises("Mutation.cancelRun", "Repeated calls change nothing.")
@promises("Run.cancelRequestedAt", "null if it never was")
async def test_a_cancel_ends_what_waits_and_counts_once(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("load"), stage("train", ["load"]))
    await by_hand.run_stage(await by_hand.claimed("load"))
    fields = "cancelRequestedAt cancelReason cancelActor lastEventSeq stageRuns { status }"
    assert (await node(graph, "Run", run_id, fields))["cancelRequestedAt"] is None
    cancel = "mutation($input: CancelRunInput!) { cancelRun(input: $input) { errors { code } } }"
    gid = global_id("Run", run_id)
    assert (await perform(graph, cancel, runId=gid, reason="first"))["errors"] == []
    cancelled = await node(graph, "Run", run_id, fields)
    assert (cancelled["cancelReason"], cancelled["cancelActor"]) == ("first", "API")
    assert [stage_run["status"] for stage_run in cancelled["stageRuns"]] == ["RUNNING", "CANCELLED"]
    assert (await perform(graph, cancel, runId=gid, reason="second", cancelledBy="ada"))["errors"] == []
    assert await node(graph, "Run", run_id, fields) == cancelled


@promises(
    "RetryRunInput.fromFailed", "Reuse the results of stages that succeeded and depend on no repeated stage"
)
@promises("Run.retries", "oldest first")
@promises("Run.retryOf", "null if it is no retry")
@promises("StageRun.reusedFrom", "by a retry")
async def test_a_retry_reuses_what_succeeded(graph: Graph, by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("load"), stage("train", ["load"]))
    await by_hand.complete_all(but="train")
    retry = """mutation($input: RetryRunInput!) { retryRun(input: $input) { run { id retryOf { id }
      successCount stageRuns { name status reusedFrom { run { id } } } } errors { code } } }"""
    gid = global_id("Run", run_id)
    first = (await perform(graph, retry, runId=gid))["run"]
    assert first["stageRuns"] == [
        {"name": "load", "status": "COMPLETED", "reusedFrom": {"run": {"id": gid}}},
        {"name": "train", "status": "PENDING", "reusedFrom": None},
    ]
    assert (first["retryOf"], first["successCount"]) == ({"id": gid}, 1)
    second = (await perform(graph, retry, runId=gid, fromFailed=False))["run"]
    assert [stage_run["status"] for stage_run in second["stageRuns"]] == ["PENDING", "PENDING"]
    found = await node(graph, "Run", run_id, "retryOf { id } retries { id }")
    assert found == {"retryOf": None, "retries": [{"id": first["id"]}, {"id": second["id"]}]}


# Orders of lists


@promises("Pipeline.runs", "newest first unless `orderBy` says otherwise")
@promises("Pipeline.schedules", "newest first")
@promises("Pipeline.webhooks", "newest first")
@promises("Query.datasets", "newest first")
@promises("Query.models", "newest first")
@promises("Query.schedules", "newest first")
@promises("Query.webhooks", "newest first")
@promises("Run.artifacts", "oldest first")
@promises("StageRun.artifacts", "oldest first")
@promises("Stage.artifacts", "newest first")
@promises("Stage.stageRuns", "newest first")
@promises("Dataset.trainedModels", "newest first")
@promises("PipelineOrder.NAME_ASC", "By name, A to Z.")
async def test_lists_have_the_order_they_promise(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline("b")
    stage_id = await make.stage(pipeline_id)
    runs = [await make.run(pipeline_id) for _ in range(2)]
    stage_runs = [await make.stage_run(run_id, stage_id) for run_id in runs]
    artifacts = [await make.artifact(stage_runs[1], stage_id, name) for name in ("one", "two")]
    datasets = [await make.dataset(artifact_id) for artifact_id in artifacts]
    models = [await make.model(artifact_id, training_dataset_id=datasets[0]) for artifact_id in artifacts]
    for name in ("first", "second"):
        await make.schedule(pipeline_id, name=name)
        await make.webhook(pipeline_id, name=name)
    await make.pipeline("a")
    data = await graph.data(
        """query($pipeline: ID!, $run: ID!) {
          pipeline(id: $pipeline) { runs { nodes { id } } schedules { nodes { name } } webhooks { nodes { name } }
            stages { artifacts { nodes { name } } stageRuns { nodes { id } } } }
          run(id: $run) { artifacts { nodes { name } } stageRuns { artifacts { nodes { name } } } }
          datasets { nodes { id trainedModels { nodes { id } } } } models { nodes { id } }
          schedules { nodes { name } } webhooks { nodes { name } }
          pipelines(orderBy: NAME_ASC) { nodes { name } } }""",
        pipeline=str(pipeline_id),
        run=str(runs[1]),
    )

    def ids(type_name: str, keys: list[uuid.UUID]) -> list[str]:
        return [global_id(type_name, key) for key in keys]

    pipeline, run = data["pipeline"], data["run"]
    assert shown(pipeline["runs"], "id") == ids("Run", runs[::-1])
    for owner in (pipeline, data):
        assert shown(owner["schedules"], "name") == shown(owner["webhooks"], "name") == ["second", "first"]
    assert shown(pipeline["stages"][0]["artifacts"], "name") == ["two", "one"]
    assert shown(pipeline["stages"][0]["stageRuns"], "id") == ids("StageRun", stage_runs[::-1])
    assert shown(run["artifacts"], "name") == ["one", "two"]
    assert shown(run["stageRuns"][0]["artifacts"], "name") == ["one", "two"]
    assert shown(data["datasets"], "id") == ids("Dataset", datasets[::-1])
    assert shown(data["models"], "id") == ids("Model", models[::-1])
    assert shown(data["datasets"]["nodes"][1]["trainedModels"], "id") == ids("Model", models[::-1])
    assert shown(data["pipelines"], "name") == ["a", "b"]


def shown(page: dict[str, Any], field: str) -> list[Any]:
    return [found[field] for found in page["nodes"]]


@promises("SystemStatus.workers", "by `leaseUntil`, latest first")
@promises("WorkerStatus.alive", "True if its `leaseUntil` has not passed.")
@promises("WorkerStatus.activeStageRuns", "Number of stage runs it executes now.")
@promises("Worker.memoryMb", "null if it is not limited")
async def test_workers_are_alive_until_their_lease_ends(graph: Graph, make: Factory) -> None:
    now = dt.datetime.now(dt.UTC)
    alive = await make.worker(pid=1, lease_until=now + dt.timedelta(minutes=1), memory_mb=512)
    await make.worker(pid=2, lease_until=now - dt.timedelta(seconds=1))
    await make.worker(pid=3, lease_until=now + dt.timedelta(minutes=2))
    pipeline_id = await make.pipeline()
    run_id, stage_id = await make.run(pipeline_id, RunStatus.RUNNING), await make.stage(pipeline_id)
    await make.stage_run(run_id, stage_id, StageStatus.PENDING, phase=Phase.CLAIMED, worker_id=alive)
    await make.stage_run(run_id, stage_id, StageStatus.RUNNING, phase=Phase.COLLECTING, worker_id=alive)
    await make.stage_run(run_id, stage_id, worker_id=alive)
    data = await graph.data("{ systemStatus { workers { alive activeStageRuns worker { pid memoryMb } } } }")
    assert data["systemStatus"]["workers"] == [
        {"alive": True, "activeStageRuns": 0, "worker": {"pid": 3, "memoryMb": None}},
        {"alive": True, "activeStageRuns": 2, "worker": {"pid": 1, "memoryMb": 512}},
        {"alive": False, "activeStageRuns": 0, "worker": {"pid": 2, "memoryMb": None}},
    ]


# Nodes, errors and formats


@promises("Query.nodes", "in the order of the ids; null for each id without a node")
async def test_nodes_come_in_the_order_of_their_ids(graph: Graph, make: Factory) -> None:
    names = [await make.pipeline(name) for name in ("a", "b")]
    ids = [
        global_id("Pipeline", names[1]),
        global_id("Pipeline", new_id()),
        "x",
        global_id("Pipeline", names[0]),
    ]
    data = await graph.data("query($ids: [ID!]!) { nodes(ids: $ids) { ... on Pipeline { name } } }", ids=ids)
    assert data["nodes"] == [{"name": "b"}, None, None, {"name": "a"}]


@promises(
    "Artifact.isActive", "False after `updateArtifact` withdrew it: its bytes can't be downloaded then."
)
@promises("UpdateArtifactInput.isActive", "True makes it active again.")
@promises(
    "Artifact.downloadUrl", "null unless `status` is READY, `isActive` is true and this server stores them"
)
async def test_an_artifact_is_withdrawn_and_made_active_again(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    stage_run_id = await make.stage_run(await make.run(pipeline_id), stage_id)
    # A later attempt withdraws nothing.
    await make.attempt(stage_run_id, 2)
    gid = global_id("Artifact", await make.artifact(stage_run_id, stage_id, sha256=await make.blob()))
    update = """mutation($input: UpdateArtifactInput!) { updateArtifact(input: $input) {
      artifact { isActive downloadUrl } errors { code } } }"""
    for is_active in (False, True):
        payload = await perform(graph, update, artifactId=gid, isActive=is_active)
        assert payload["artifact"]["isActive"] is is_active
        assert (payload["artifact"]["downloadUrl"] is not None) is is_active


@promises("ResourceSample.memoryMb", "in MB of 1024 x 1024 bytes")
@promises("ResourceSample.memoryBytes", "in bytes")
async def test_a_megabyte_has_1024_times_1024_bytes(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    stage_run_id = await make.stage_run(run_id, await make.stage(pipeline_id))
    await make.samples(run_id, stage_run_id, [3 * 2**20])
    found = await node(graph, "StageRun", stage_run_id, "resourceSamples { memoryBytes memoryMb }")
    assert found == {"resourceSamples": [{"memoryBytes": 3 * 2**20, "memoryMb": 3.0}]}


@promises("StageEnd.lastLogLines", "at most 20 lines and 4 KiB")
async def test_the_end_of_a_stage_shows_its_last_lines(graph: Graph, by_hand: ByHand) -> None:
    tails = ("\n".join(map(str, range(30))), "x" * 9000)
    lines = []
    for tail in tails:
        await by_hand.started(stage("train"))
        row = await by_hand.claimed("train")
        await by_hand.fail(row, AttemptOutcome(FinishReason.EXITED, exit_code=1, log_tail=tail))
        ended = await node(graph, "StageRun", row.id, "end { lastLogLines }")
        lines.append(ended["end"]["lastLogLines"])
    assert lines == [[str(number) for number in range(10, 30)], ["x" * 4096]]


@promises("UserError.path", "Names of the input fields that lead to the wrong one, outermost first")
@promises("CreatePipelinePayload.pipeline", "null if there are errors")
@promises("CreatePipelinePayload.errors", "if there are any, nothing has changed")
async def test_an_error_leads_to_the_wrong_field_and_changes_nothing(graph: Graph) -> None:
    stages = [*PENGUINS["stages"], {"name": "", "stageType": "CUSTOM", "config": {"command": ["true"]}}]
    payload = await perform(graph, CREATE, **{**PENGUINS, "stages": stages})
    assert payload["pipeline"] is None
    assert ["stages", "2", "name"] in [error["path"] for error in payload["errors"]]
    assert await graph.data("{ pipelines { totalCount } }") == {"pipelines": {"totalCount": 0}}


@promises("StartRunInput.idempotencyKey", "returns the run of the first one and starts none")
@promises("Mutation.updateRun", "in any status")
async def test_a_key_starts_one_run_and_its_notes_may_always_change(graph: Graph, by_hand: ByHand) -> None:
    pipeline_id = await create(graph)
    mutation = "mutation($input: StartRunInput!) { startRun(input: $input) { run { id } errors { code } } }"
    first, second = [
        (await perform(graph, mutation, pipelineId=pipeline_id, idempotencyKey="k"))["run"] for _ in range(2)
    ]
    assert first == second
    counted = await graph.data("{ runs { totalCount nodes { status } } }")
    assert counted["runs"] == {"totalCount": 1, "nodes": [{"status": "PENDING"}]}
    update = (
        "mutation($input: UpdateRunInput!) { updateRun(input: $input) { run { notes } errors { code } } }"
    )
    for notes, move in (("waits", by_hand.begin), ("runs", by_hand.complete_all), ("ended", None)):
        payload = await perform(graph, update, runId=first["id"], notes=notes)
        assert payload == {"run": {"notes": notes}, "errors": []}
        if move is not None:
            await move()


@pytest.mark.parametrize(("coordinate", "words"), sorted(set(PROMISED)))
def test_each_promise_is_in_its_description(coordinate: str, words: str) -> None:
    assert words in description_of(coordinate)


@pytest.mark.parametrize(("coordinate", "words", "test"), KEPT_ELSEWHERE)
def test_each_promise_that_is_kept_elsewhere_has_its_test(coordinate: str, words: str, test: str) -> None:
    assert words in description_of(coordinate)
    assert any(f"def {test}" in path.read_text(encoding="utf-8") for path in HERE.parent.rglob("test_*.py"))
