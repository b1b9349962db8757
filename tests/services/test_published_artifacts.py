"""What a stage left behind becomes visible in one commit, and knows where it came from."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.database.reads.attempts import inputs_of
from app.database.tables import artifacts, blobs, datasets, models
from app.domain.artifacts import DatasetFacts, ModelFacts
from app.domain.vocabulary import ArtifactStatus, RunStatus, StageStatus
from app.services.state.outputs import StoredFile
from app.storage.base import StorageUnavailable
from tests.moved_runs import EXIT_3, ByHand, output, stage

LOG = output("output.log", is_captured_log=True)


async def left_by(by_hand: ByHand, *files: StoredFile, **outputs: Any) -> sa.Row[Any]:
    """A completed stage run that left these files."""
    run_id = await by_hand.started(stage("only", params={"depth": 4}))
    await by_hand.complete(await by_hand.claimed("only"), *files, **outputs)
    row: sa.Row[Any] = (await by_hand.stages(run_id))["only"]
    return row


async def one(by_hand: ByHand, table: sa.Table) -> sa.Row[Any]:
    (row,) = await by_hand.rows(sa.select(table))
    return row


async def test_a_file_becomes_an_artifact_with_its_blob_and_an_event(by_hand: ByHand) -> None:
    file = output("plots/a.png")
    row = await left_by(by_hand, file)
    artifact = await one(by_hand, artifacts)
    assert (artifact.stage_run_id, artifact.stage_id) == (row.id, row.stage_id)
    assert (artifact.status, artifact.file_name) == (ArtifactStatus.READY, "a.png")
    assert (artifact.relative_path, artifact.file_size) == ("plots/a.png", 3)
    assert (artifact.sha256, artifact.file_path) == (file.blob.sha256, file.blob.key)
    assert (await one(by_hand, blobs)).sha256 == file.blob.sha256
    events = await by_hand.events(row.pipeline_run_id)
    (stored,) = [event for event in events if event.kind == "ARTIFACT_STORED"]
    assert stored.payload == {
        "actor": f"worker {by_hand.worker_id}",
        "cause": "attempt 1 left it behind",
        "artifactId": str(artifact.id),
        "name": "plots/a.png",
        "artifactType": "OTHER",
        "fileSize": 3,
        "attempt": 1,
    }


async def test_an_output_may_have_the_path_of_the_captured_log(by_hand: ByHand) -> None:
    await left_by(by_hand, output("output.log"), LOG)
    rows = await by_hand.rows(sa.select(artifacts.c.is_captured_log).order_by(artifacts.c.is_captured_log))
    assert [row.is_captured_log for row in rows] == [False, True]


async def test_one_content_is_one_blob_however_often_it_is_left(by_hand: ByHand) -> None:
    same = output("a")
    await left_by(by_hand, same, dataclasses.replace(same, path="b"))
    first = await one(by_hand, blobs)
    await left_by(by_hand, same)
    again = await one(by_hand, blobs)
    assert again.touched_at > first.touched_at
    assert again.created_at == first.created_at


async def test_runs_that_leave_the_same_files_at_once_do_not_deadlock(by_hand: ByHand) -> None:
    files = [output(f"f{n}") for n in range(20)]
    rows = []
    for _ in range(4):
        await by_hand.started(stage("only"))
        row = await by_hand.claimed("only")
        await by_hand.collect(row)
        rows.append(row)
    orders = [files, files[::-1], files[10:] + files[:10], files[::-1]]
    done = [by_hand.complete(row, *order) for row, order in zip(rows, orders, strict=True)]
    assert all(await asyncio.gather(*done))


async def test_a_blob_that_artifacts_refer_to_cannot_be_deleted(by_hand: ByHand) -> None:
    await left_by(by_hand, output("a"))
    with pytest.raises(IntegrityError, match="fk_artifacts"):
        await by_hand.execute(sa.delete(blobs))


async def test_files_stored_long_ago_are_not_published(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("only"))
    row = await by_hand.claimed("only")
    yesterday = time.time() - 86_400
    with pytest.raises(StorageUnavailable, match="once more"):
        await by_hand.complete(row, output("a"), stored_at=yesterday)
    assert (await by_hand.stages(run_id))["only"].status is StageStatus.RUNNING
    assert await by_hand.complete(row, output("a"))


async def test_nasty_facts_of_a_file_are_stored_cleaned_and_cut(by_hand: ByHand) -> None:
    nasty = "a\0\udc80" + "x" * 300
    file = dataclasses.replace(
        output("a"),
        name=nasty,
        description=nasty,
        metadata={nasty: float("inf")},
        dataset=DatasetFacts(format="f" * 99, schema=[{"name": "\0"}]),
        model=ModelFacts("m" * 999, "a" * 999, "f" * 999, "j" * 999, metrics={"loss": float("nan")}),
    )
    await left_by(by_hand, file)
    artifact, model = await one(by_hand, artifacts), await one(by_hand, models)
    assert artifact.name == ("a\ufffd\ufffd" + "x" * 300)[:255]
    assert list(artifact.artifact_metadata.values()) == ["Infinity"]
    assert (await one(by_hand, datasets)).schema == [{"name": "\ufffd"}]
    assert (len(model.algorithm), model.metrics) == (100, {"loss": "NaN"})


async def test_a_model_takes_parameters_and_metrics_of_its_stage(by_hand: ByHand) -> None:
    facts = ModelFacts(algorithm="tree", metrics={"accuracy": 0.9})
    await left_by(by_hand, output("m.bin", model=facts), metrics={"accuracy": 0.5, "rows": 3.0})
    model = await one(by_hand, models)
    assert model.metrics == {"accuracy": 0.9, "rows": 3.0}
    assert model.training_config == {"depth": 4}
    assert (model.algorithm, model.framework) == ("tree", "unknown")


async def test_a_model_may_be_trained_on_a_data_set_of_its_own_stage(by_hand: ByHand) -> None:
    data = output("d.csv", dataset=DatasetFacts(format="csv"))
    await left_by(by_hand, output("m.bin", model=ModelFacts(training_dataset="d.csv")), data)
    assert (await one(by_hand, models)).training_dataset_id == (await one(by_hand, datasets)).id


async def test_a_model_may_be_trained_on_a_data_set_of_a_dependency(by_hand: ByHand) -> None:
    await by_hand.started(stage("split"), stage("train", ["split"]))
    await by_hand.complete(await by_hand.claimed("split"), output("d.csv", dataset=DatasetFacts()))
    model = output("m.bin", model=ModelFacts(training_dataset="split/d.csv"))
    await by_hand.complete(await by_hand.claimed("train"), model)
    assert (await one(by_hand, models)).training_dataset_id == (await one(by_hand, datasets)).id
    assert [row.artifact_metadata for row in await by_hand.rows(sa.select(artifacts))] == [None, None]


async def test_a_dataset_that_a_model_names_but_does_not_exist_is_in_its_metadata(by_hand: ByHand) -> None:
    model = output("m.bin", model=ModelFacts(training_dataset="gone/d.csv"))
    model = dataclasses.replace(model, metadata={"depth": 4})
    await left_by(by_hand, model, output("other.csv", dataset=DatasetFacts()))
    assert (await one(by_hand, models)).training_dataset_id is None
    metadata = {row.relative_path: row.artifact_metadata for row in await by_hand.rows(sa.select(artifacts))}
    assert metadata == {
        "m.bin": {"depth": 4, "trainingDatasetNotFound": "gone/d.csv"},
        "other.csv": None,
    }


async def test_the_inputs_are_the_outputs_of_the_last_attempt_without_its_log(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("load", retries={"limit": 1, "delay": 0}), stage("use", ["load"]))
    await by_hand.fail(await by_hand.claimed("load"), EXIT_3, LOG)
    await by_hand.make_due(run_id)
    await by_hand.complete(await by_hand.claimed("load"), output("d.csv"), LOG)
    use = await by_hand.claimed("use")
    async with by_hand.engine.connect() as connection:
        files = await inputs_of(connection, use.depends_on)
    assert [(file.dependency, file.relative_path) for file in files] == [("load", "d.csv")]


async def test_a_thousand_files_become_visible_together(by_hand: ByHand) -> None:
    row = await left_by(by_hand, *[output(f"f{n}") for n in range(1000)])
    events = await by_hand.events(row.pipeline_run_id)
    assert sum(event.kind == "ARTIFACT_STORED" for event in events) == 1000
    assert (await by_hand.run(row.pipeline_run_id)).status is RunStatus.COMPLETED
    await by_hand.check(row.pipeline_run_id)
