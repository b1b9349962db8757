"""Answers of queries, over a real database."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from pathlib import Path

import pytest

from app.database.columns import new_id
from app.domain.vocabulary import ArtifactStatus, ArtifactType, RunStatus, StageStatus, StorageType
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph


async def test_the_edges_lead_from_a_pipeline_to_a_model_and_back(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline("penguins")
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id)
    stage_run_id = await make.stage_run(run_id, stage_id)
    dataset_id = await make.dataset(await make.artifact(stage_run_id, stage_id, "data"))
    model_id = await make.model(
        await make.artifact(stage_run_id, stage_id, "model"), training_dataset_id=dataset_id
    )
    down = await graph.data(
        """query($id: ID!) { pipeline(id: $id) { runs { nodes { stageRuns { artifacts { nodes {
             name model { id trainingDataset { id } } dataset { id artifact { name } } } } } } } } }""",
        id=global_id("Pipeline", pipeline_id),
    )
    [stage_run] = down["pipeline"]["runs"]["nodes"][0]["stageRuns"]
    dataset = {"id": global_id("Dataset", dataset_id)}
    assert stage_run["artifacts"]["nodes"] == [
        {"name": "data", "model": None, "dataset": {**dataset, "artifact": {"name": "data"}}},
        {
            "name": "model",
            "model": {"id": global_id("Model", model_id), "trainingDataset": dataset},
            "dataset": None,
        },
    ]
    up = await graph.data(
        """{ datasets { nodes { trainedModels { nodes { id artifact { name
             stageRun { run { pipeline { name } } } stage { pipeline { name } } run { id } } } } } } }"""
    )
    [dataset] = up["datasets"]["nodes"]
    assert dataset["trainedModels"]["nodes"] == [
        {
            "id": global_id("Model", model_id),
            "artifact": {
                "name": "model",
                "stageRun": {"run": {"pipeline": {"name": "penguins"}}},
                "stage": {"pipeline": {"name": "penguins"}},
                "run": {"id": global_id("Run", run_id)},
            },
        }
    ]


async def test_a_stage_knows_what_it_depends_on_and_what_depends_on_it(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    await make.stage(pipeline_id, "load", order=0)
    await make.stage(pipeline_id, "train", order=1, dependencies=["load"])
    await make.stage(pipeline_id, "removed", order=2, dependencies=["load"], is_active=False)
    data = await graph.data(
        "{ pipelines { nodes { stages { name dependencies { name } dependents { name } } } } }"
    )
    assert data["pipelines"]["nodes"][0]["stages"] == [
        {"name": "load", "dependencies": [], "dependents": [{"name": "train"}]},
        {"name": "train", "dependencies": [{"name": "load"}], "dependents": []},
    ]


async def test_a_stage_run_knows_its_dependencies_attempts_and_worker(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id)
    worker_id = await make.worker(pid=4711)
    first = await make.stage_run(run_id, stage_id, name="load")
    second = await make.stage_run(
        run_id, stage_id, name="train", position=1, depends_on=[first], worker_id=worker_id
    )
    await make.attempt(second, 1, exit_code=1, peak_memory_bytes=2**40)
    await make.attempt(second, 2, exit_code=0, worker_id=worker_id)
    data = await graph.data(
        """query($id: ID!) { stageRun(id: $id) { worker { pid } spec dependencies { name dependents { name } }
             attempts { attempt exitCode peakMemoryBytes worker { pid } } } }""",
        id=global_id("StageRun", second),
    )
    assert data["stageRun"] == {
        "worker": {"pid": 4711},
        "spec": {"command": ["true"]},
        "dependencies": [{"name": "load", "dependents": [{"name": "train"}]}],
        "attempts": [
            {"attempt": 1, "exitCode": 1, "peakMemoryBytes": 2**40, "worker": None},
            {"attempt": 2, "exitCode": 0, "peakMemoryBytes": None, "worker": {"pid": 4711}},
        ],
    }


async def test_a_run_says_whether_it_can_be_cancelled_or_retried(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    for status, values in (
        (RunStatus.RUNNING, {}),
        (RunStatus.RUNNING, {"cancel_requested_at": NOON}),
        (RunStatus.FAILED, {}),
    ):
        await make.run(pipeline_id, status, **values)
    data = await graph.data("{ runs(orderBy: CREATED_AT_ASC) { nodes { canCancel canRetry } } }")
    assert data["runs"]["nodes"] == [
        {"canCancel": True, "canRetry": False},
        {"canCancel": False, "canRetry": False},
        {"canCancel": False, "canRetry": True},
    ]


async def test_a_run_counts_its_stage_runs_and_knows_its_retries(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id)
    retry_id = await make.run(pipeline_id, retry_of_id=run_id)
    for status in (StageStatus.FAILED, StageStatus.SKIPPED, StageStatus.SKIPPED):
        await make.stage_run(run_id, stage_id, status)
    data = await graph.data(
        """query($id: ID!) { run(id: $id) { definition retryOf { id } retries { id retryOf { id } }
             stageRunCounts { total pending failed skipped } } }""",
        id=global_id("Run", run_id),
    )
    assert data["run"] == {
        "definition": {"name": "penguins"},
        "retryOf": None,
        "retries": [{"id": global_id("Run", retry_id), "retryOf": {"id": global_id("Run", run_id)}}],
        "stageRunCounts": {"total": 3, "pending": 0, "failed": 1, "skipped": 2},
    }


async def test_a_pipeline_knows_its_newest_run(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    await make.run(pipeline_id)
    newest = await make.run(pipeline_id, RunStatus.RUNNING)
    await make.pipeline("never run")
    data = await graph.data("{ pipelines(orderBy: CREATED_AT_ASC) { nodes { latestRun { id status } } } }")
    assert [node["latestRun"] for node in data["pipelines"]["nodes"]] == [
        {"id": global_id("Run", newest), "status": "RUNNING"},
        None,
    ]


async def test_an_id_may_be_global_or_bare_and_a_wrong_one_returns_null(graph: Graph, make: Factory) -> None:
    run_id = await make.run(await make.pipeline())
    query = "query($id: ID!) { run(id: $id) { id } }"
    for node_id in (global_id("Run", run_id), str(run_id)):
        assert (await graph.data(query, id=node_id))["run"] == {"id": global_id("Run", run_id)}
    wrong = [
        global_id("Pipeline", run_id),
        global_id("Run", uuid.uuid4()),
        str(uuid.uuid4()),
        "",
        "nonsense",
        "\0",
        "ü" * 36,
        base64.b64encode(b"Run:" + b"\xff" * 16).decode(),
        base64.b64encode(b"Run:").decode(),
    ]
    for node_id in wrong:
        assert (await graph.data(query, id=node_id))["run"] is None


async def test_any_node_is_found_by_its_global_id(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id)
    stage_run_id = await make.stage_run(run_id, stage_id)
    artifact_id = await make.artifact(stage_run_id, stage_id)
    ids = [
        global_id("Pipeline", pipeline_id),
        global_id("Stage", stage_id),
        global_id("Run", run_id),
        global_id("StageRun", stage_run_id),
        global_id("Artifact", artifact_id),
        global_id("Dataset", await make.dataset(artifact_id)),
        global_id("Model", await make.model(artifact_id)),
        global_id("Worker", await make.worker()),
    ]
    unknown = [global_id("Run", new_id()), global_id("Query", run_id), str(run_id), "nonsense"]
    data = await graph.data("query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }", ids=ids + unknown)
    assert [node and node["id"] for node in data["nodes"]] == [*ids, None, None, None, None]
    assert [node["__typename"] for node in data["nodes"][:3]] == ["Pipeline", "Stage", "Run"]
    assert (await graph.data("query($id: ID!) { node(id: $id) { id } }", id=ids[2]))["node"] == {"id": ids[2]}


async def test_large_sizes_special_numbers_and_times_keep_their_values(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline(config={"text": "日本 🐧", "deep": [1, {"x": None}]})
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id, started_at=dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC))
    stage_run_id = await make.stage_run(run_id, stage_id)
    await make.artifact(stage_run_id, stage_id, file_size=2**53)
    await make.metric(stage_run_id, "loss", [1.5, float("nan"), float("inf"), float("-inf")])
    data = await graph.data(
        """{ runs(first: 1) { nodes { startedAt pipeline { config } artifacts { nodes { fileSize } }
             stageRuns { metricPoints { value } } } } }"""
    )
    [run] = data["runs"]["nodes"]
    assert run["startedAt"] == "2026-01-02T03:04:05.678000+00:00"
    assert run["pipeline"]["config"] == {"text": "日本 🐧", "deep": [1, {"x": None}]}
    assert run["artifacts"]["nodes"] == [{"fileSize": 2**53}]
    points = run["stageRuns"][0]["metricPoints"]
    assert [point["value"] for point in points] == [1.5, "NaN", "Infinity", "-Infinity"]


async def test_an_artifact_has_a_download_url_while_it_can_be_read(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    stage_run_id = await make.stage_run(await make.run(pipeline_id), stage_id)
    digest = await make.blob()
    ready = await make.artifact(stage_run_id, stage_id, sha256=digest)
    await make.artifact(stage_run_id, stage_id, sha256=digest, status=ArtifactStatus.FAILED)
    await make.artifact(stage_run_id, stage_id, storage_type=StorageType.S3)
    data = await graph.data("{ artifacts(orderBy: CREATED_AT_ASC) { nodes { downloadUrl } } }")
    urls = [node["downloadUrl"] for node in data["artifacts"]["nodes"]]
    assert urls == [f"/artifacts/{ready}/content", None, None]


async def test_a_long_series_of_samples_keeps_its_peaks(graph: Graph, make: Factory) -> None:
    stage_run_id = await stage_run_of(make)
    memory = [1] * 1000
    memory[437] = 99 * 1024 * 1024
    run_id = uuid.UUID(str(await run_of(graph)))
    await make.samples(run_id, stage_run_id, memory)
    query = """query($points: Int!) { runs(first: 1) { nodes { stageRuns {
                 resourceSamples(maxPoints: $points) { at memoryMb cpuPercent } } } } }"""
    thinned = (await graph.data(query, points=10))["runs"]["nodes"][0]["stageRuns"][0]["resourceSamples"]
    assert len(thinned) == 10
    assert max(sample["memoryMb"] for sample in thinned) == 99
    assert thinned[-1]["cpuPercent"] == 1000
    assert [sample["at"] for sample in thinned] == sorted(sample["at"] for sample in thinned)
    whole = (await graph.data(query, points=2000))["runs"]["nodes"][0]["stageRuns"][0]["resourceSamples"]
    assert [sample["cpuPercent"] for sample in whole] == [float(number) for number in range(1, 1001)]


async def test_a_long_series_of_a_metric_keeps_its_last_point(graph: Graph, make: Factory) -> None:
    stage_run_id = await stage_run_of(make)
    await make.metric(stage_run_id, "loss", [float(value) for value in range(1000)])
    await make.metric(stage_run_id, "accuracy", [0.5])
    data = await graph.data(
        "{ runs(first: 1) { nodes { stageRuns { metricPoints(maxPoints: 4) { name step value } } } } }"
    )
    [stage_run] = data["runs"]["nodes"][0]["stageRuns"]
    accuracy, *loss = stage_run["metricPoints"]
    assert accuracy == {"name": "accuracy", "step": 0, "value": 0.5}
    assert [point["step"] for point in loss] == [249, 499, 749, 999]
    data = await graph.data(
        """query($id: ID!) { stageRun(id: $id) {
             loss: metricPoints(name: "loss", maxPoints: 1) { step }
             accuracy: metricPoints(name: "accuracy", maxPoints: 1) { step } } }""",
        id=global_id("StageRun", stage_run_id),
    )
    assert data["stageRun"] == {"loss": [{"step": 999}], "accuracy": [{"step": 0}]}


async def test_of_two_points_of_one_step_the_later_one_counts(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    run_id = await make.run(pipeline_id)
    stage_run_id = await make.stage_run(run_id, await make.stage(pipeline_id))
    for value in (9.0, 1.0, 5.0):
        # Each call begins at step 0 again.
        await make.metric(stage_run_id, "loss", [value])
    query = """query($id: ID!) { stageRun(id: $id) {
      all: metricPoints { step value } one: metricPoints(maxPoints: 1) { step value } } }"""
    points = (await graph.data(query, id=global_id("StageRun", stage_run_id)))["stageRun"]
    assert points["all"] == [{"step": 0, "value": value} for value in (9.0, 1.0, 5.0)], (
        "in the order reported"
    )
    assert points["one"] == [{"step": 0, "value": 5.0}]


@pytest.mark.parametrize(
    "argument", ["resourceSamples(maxPoints: 0) { at }", "metricPoints(maxPoints: 2001) { at }"]
)
async def test_a_number_of_points_out_of_bounds_is_refused(
    graph: Graph, make: Factory, argument: str
) -> None:
    await stage_run_of(make)
    error = await graph.refusal(f"{{ runs(first: 1) {{ nodes {{ stageRuns {{ {argument} }} }} }} }}")
    assert error["extensions"] == {"code": "BAD_INPUT", "argumentPath": ["maxPoints"]}


async def test_a_log_is_read_in_whole_characters(graph: Graph, make: Factory, tmp_path: Path) -> None:
    stage_run_id = await stage_run_of(make)
    folder = tmp_path / "attempts" / f"{stage_run_id}.1"
    folder.mkdir(parents=True)
    (folder / "output.log").write_bytes("héllo 🐧\n".encode())
    query = """query($id: ID!, $after: BigInt) { stageRun(id: $id) {
                 log(afterOffset: $after, maxBytes: 8) { attempt offset nextOffset text final } } }"""
    node_id = global_id("StageRun", stage_run_id)
    first = (await graph.data(query, id=node_id))["stageRun"]["log"]
    assert first == {"attempt": 1, "offset": 0, "nextOffset": 7, "text": "héllo ", "final": False}
    rest = (await graph.data(query, id=node_id, after="7"))["stageRun"]["log"]
    assert (rest["text"], rest["nextOffset"], rest["final"]) == ("🐧\n", 12, True)


@pytest.mark.parametrize("attempt", [-1, 0, 2])
async def test_the_log_of_an_attempt_that_does_not_exist_is_refused(
    graph: Graph, make: Factory, attempt: int
) -> None:
    query = "query($id: ID!, $attempt: Int) { stageRun(id: $id) { log(attempt: $attempt) { text } } }"
    error = await graph.refusal(query, id=str(await stage_run_of(make)), attempt=attempt)
    assert error["message"].startswith(f"attempt: there is no attempt {attempt}; ")
    assert error["extensions"] == {"code": "BAD_INPUT", "argumentPath": ["attempt"]}


async def test_the_events_of_a_run_come_in_pages_with_their_gaps(graph: Graph, make: Factory) -> None:
    run_id = await make.run(await make.pipeline(), last_event_seq=5)
    for seq in (3, 4, 5):
        await make.event(run_id, seq, "RUN_QUEUED", payload={"status": "PENDING"})
    query = """query($id: ID!, $after: String) { run(id: $id) { events(first: 2, after: $after) {
                 cursor events { seq kind } resyncRequired { missedFrom missedTo } } } }"""
    node_id = global_id("Run", run_id)
    first = (await graph.data(query, id=node_id))["run"]["events"]
    assert first == {
        "cursor": "4",
        "events": [{"seq": 3, "kind": "RUN_QUEUED"}, {"seq": 4, "kind": "RUN_QUEUED"}],
        "resyncRequired": {"missedFrom": 1, "missedTo": 2},
    }
    second = (await graph.data(query, id=node_id, after="4"))["run"]["events"]
    assert (second["cursor"], len(second["events"]), second["resyncRequired"]) == ("5", 1, None)
    third = (await graph.data(query, id=node_id, after="5"))["run"]["events"]
    assert third == {"cursor": "5", "events": [], "resyncRequired": None}
    ahead = await graph.refusal(query, id=node_id, after="6")
    assert ahead["message"] == "after: this cursor is ahead of the run; use a cursor of this run's stream"
    assert ahead["extensions"] == {"code": "BAD_INPUT", "argumentPath": ["after"]}


async def test_the_system_status_shows_workers_and_waiting_runs(graph: Graph, make: Factory) -> None:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    run_id = await make.run(pipeline_id, RunStatus.RUNNING)
    for _ in range(2):
        await make.run(pipeline_id, RunStatus.PENDING)
    alive = await make.worker(host_name="alive")
    await make.worker(host_name="gone", lease_until=NOON)
    await make.stage_run(run_id, stage_id, StageStatus.RUNNING, worker_id=alive)
    data = await graph.data(
        "{ systemStatus { pendingRuns runningRuns version workers { alive activeStageRuns worker { hostName } } } }"
    )
    status = data["systemStatus"]
    assert status.pop("version")
    assert status == {
        "pendingRuns": 2,
        "runningRuns": 1,
        "workers": [
            {"alive": True, "activeStageRuns": 1, "worker": {"hostName": "alive"}},
            {"alive": False, "activeStageRuns": 0, "worker": {"hostName": "gone"}},
        ],
    }


async def test_a_stage_lists_the_artifacts_to_expect(graph: Graph, make: Factory) -> None:
    await make.stage(await make.pipeline())
    data = await graph.data("{ pipelines { nodes { stages { stageType expectedArtifactTypes } } } }")
    [stage] = data["pipelines"]["nodes"][0]["stages"]
    assert stage["expectedArtifactTypes"] == [ArtifactType.METRICS, ArtifactType.MODEL]


async def stage_run_of(make: Factory) -> uuid.UUID:
    pipeline_id = await make.pipeline()
    return await make.stage_run(await make.run(pipeline_id), await make.stage(pipeline_id))


async def run_of(graph: Graph) -> str:
    """The bare id of the only run."""
    data = await graph.data("{ runs { nodes { id } } }")
    return base64.b64decode(data["runs"]["nodes"][0]["id"]).decode().removeprefix("Run:")
