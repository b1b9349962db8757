"""Artifacts that clients register: from a file of the import folder, a text, or an address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from app.database.reads.attempts import inputs_of
from app.database.tables import artifacts, run_events
from app.domain.vocabulary import RunStatus, StageStatus
from app.graphql.serving import operation
from app.graphql.shared.context import ContextFactory
from app.storage.base import ArtifactStore
from app.storage.local import LocalStore
from app.web.downloads import Downloads
from tests.factories import Factory
from tests.graphql.conftest import Graph
from tests.web_server import client_of

REGISTER = """
mutation ($input: RegisterArtifactInput!) {
  registerArtifact(input: $input) {
    artifact {
      id name artifactType fileName filePath fileSize storageType sha256 mediaType downloadUrl attemptNumber
      description artifactMetadata
      dataset { format rowCount columnCount schema }
      model { algorithm modelType framework modelFormat metrics trainingConfig trainingDataset { id } }
      stageRun { id artifacts { nodes { name } } }
    }
    errors { code message path }
  }
}
"""
UPDATE = """
mutation ($input: UpdateArtifactInput!) {
  updateArtifact(input: $input) {
    artifact { description artifactMetadata isActive downloadUrl }
    errors { code path }
  }
}
"""

NOTHING = str(uuid.UUID(int=1))
"""The id of nothing."""


@pytest.fixture
async def stage_run(make: Factory) -> uuid.UUID:
    return await ended_stage_run(make)


@pytest.fixture
def imports(tmp_path: Path) -> Path:
    folder = tmp_path / "imports"
    folder.mkdir()
    return folder


async def ended_stage_run(make: Factory, status: RunStatus = RunStatus.COMPLETED) -> uuid.UUID:
    pipeline_id = await make.pipeline()
    stage_id = await make.stage(pipeline_id)
    stage_status = StageStatus.RUNNING if status is RunStatus.RUNNING else StageStatus.COMPLETED
    return await make.stage_run(await make.run(pipeline_id, status), stage_id, stage_status)


async def register(graph: Graph, stage_run: uuid.UUID, source: dict[str, str], **more: Any) -> Any:
    said = {
        "stageRunId": str(stage_run),
        "name": "scores",
        "artifactType": "REPORT",
        "source": source,
        **more,
    }
    return (await graph.data(REGISTER, input=said))["registerArtifact"]


async def registered(graph: Graph, stage_run: uuid.UUID, source: dict[str, str], **more: Any) -> Any:
    payload = await register(graph, stage_run, source, **more)
    assert payload["errors"] == []
    return payload["artifact"]


async def refused(graph: Graph, stage_run: uuid.UUID, source: dict[str, str], **more: Any) -> tuple[str, str]:
    """Code and path of the only error."""
    payload = await register(graph, stage_run, source, **more)
    assert payload["artifact"] is None
    (error,) = payload["errors"]
    assert error["message"]
    return error["code"], ".".join(error["path"])


async def content(graph: Graph, url: str) -> bytes:
    downloads = Downloads(graph.contexts.engine, graph.contexts.imports.store)
    application = Starlette(routes=downloads.routes())
    async with client_of(application) as client, client.get(url) as response:
        assert response.status == 200
        return await response.read()


async def test_a_file_of_the_import_folder_becomes_a_dataset_that_can_be_downloaded(
    graph: Graph, stage_run: uuid.UUID, imports: Path
) -> None:
    (imports / "data").mkdir()
    (imports / "data" / "train.csv").write_bytes(b"island,mass\nDream,3750\n")
    artifact = await registered(
        graph,
        stage_run,
        {"file": "data/train.csv"},
        name="penguins: train",
        artifactType="DATASET",
        description="Measured by hand",
        artifactMetadata={"from": "the notebook"},
        dataset={"format": "csv", "rowCount": 2**40, "columnCount": 2, "schema": [{"name": "island"}]},
    )
    (imports / "data" / "train.csv").unlink()
    assert await content(graph, artifact["downloadUrl"]) == b"island,mass\nDream,3750\n"
    assert (artifact["fileName"], artifact["fileSize"], artifact["mediaType"]) == (
        "train.csv",
        23,
        "text/csv",
    )
    assert (artifact["storageType"], artifact["attemptNumber"]) == ("LOCAL", 0)
    assert (artifact["description"], artifact["artifactMetadata"]) == (
        "Measured by hand",
        {"from": "the notebook"},
    )
    assert artifact["dataset"] == {
        "format": "csv",
        "rowCount": 2**40,
        "columnCount": 2,
        "schema": [{"name": "island"}],
    }
    assert artifact["stageRun"]["artifacts"]["nodes"] == [{"name": "penguins: train"}]


async def test_a_large_file_gets_more_time(
    graph: Graph, stage_run: uuid.UUID, imports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "TIMEOUT_SECONDS", 1.0)
    (imports / "large").write_bytes(b"1")
    with busy_writers(graph.contexts.imports.store) as release:
        registering = asyncio.create_task(registered(graph, stage_run, {"file": "large"}))
        await asyncio.sleep(1.2)
        release.set()
        assert (await registering)["fileSize"] == 1


@contextlib.contextmanager
def busy_writers(store: ArtifactStore) -> Iterator[threading.Event]:
    """Nothing is stored until the event is set."""
    assert isinstance(store, LocalStore)
    release = threading.Event()
    for _ in range(store._writers._max_workers):
        store._writers.submit(release.wait)
    yield release
    release.set()


async def test_a_text_is_stored_as_a_file(graph: Graph, stage_run: uuid.UUID) -> None:
    artifact = await registered(graph, stage_run, {"text": "größer ✓"}, name="notes.txt")
    assert await content(graph, artifact["downloadUrl"]) == "größer ✓".encode()
    assert artifact["mediaType"] == "text/plain"


async def test_bytes_stored_elsewhere_have_an_address_only(graph: Graph, stage_run: uuid.UUID) -> None:
    model = {"algorithm": "transformer", "metrics": {"loss": 0.5}, "trainingConfig": {"layers": 2}}
    artifact = await registered(
        graph,
        stage_run,
        {"location": "s3://bucket/runs/7/model.safetensors"},
        artifactType="MODEL",
        model=model,
    )
    assert (artifact["storageType"], artifact["filePath"]) == ("S3", "s3://bucket/runs/7/model.safetensors")
    assert (artifact["fileName"], artifact["fileSize"]) == ("model.safetensors", None)
    assert (artifact["sha256"], artifact["downloadUrl"]) == (None, None)
    assert artifact["model"] == {
        **model,
        "modelType": "unknown",
        "framework": "unknown",
        "modelFormat": "unknown",
        "trainingDataset": None,
    }


async def test_a_model_names_the_dataset_it_was_trained_with(
    graph: Graph, make: Factory, stage_run: uuid.UUID
) -> None:
    data = await registered(graph, stage_run, {"text": "1"}, name="data", artifactType="DATASET")
    found = await graph.data("query($id: ID!) { artifact(id: $id) { dataset { id } } }", id=data["id"])
    dataset_id = found["artifact"]["dataset"]["id"]
    model = await registered(
        graph,
        stage_run,
        {"text": "2"},
        name="model",
        artifactType="MODEL",
        model={"trainingDatasetId": dataset_id},
    )
    assert model["model"]["trainingDataset"] == {"id": dataset_id}


async def test_an_active_run_gets_an_event_and_an_ended_run_gets_none(
    graph: Graph, make: Factory, engine: AsyncEngine, stage_run: uuid.UUID
) -> None:
    at_work = await ended_stage_run(make, RunStatus.RUNNING)
    for key in (stage_run, at_work):
        await registered(graph, key, {"text": "1"})
    async with engine.connect() as connection:
        events = (await connection.execute(sa.select(run_events))).all()
    assert [(event.stage_run_id, event.seq, event.kind) for event in events] == [
        (at_work, 1, "ARTIFACT_STORED")
    ]
    assert events[0].payload["name"] == "scores"


async def test_registered_artifacts_are_no_inputs_of_later_stages(
    graph: Graph, stage_run: uuid.UUID, engine: AsyncEngine
) -> None:
    await registered(graph, stage_run, {"text": "1"})
    async with engine.connect() as connection:
        assert await inputs_of(connection, [stage_run]) == []


async def test_a_name_is_registered_once(graph: Graph, stage_run: uuid.UUID, make: Factory) -> None:
    await registered(graph, stage_run, {"text": "1"})
    assert await refused(graph, stage_run, {"text": "2"}) == ("CONFLICT", "name")
    await registered(graph, stage_run, {"text": "2"}, name="scores 2")
    await registered(graph, await ended_stage_run(make), {"text": "2"})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../secret",
        "data/../../secret",
        "./a",
        "a//b",
        "none",
        "none/none",
        "folder",
        "pipe",
        "link",
        "linked/secret",
        "folder/link",
        "large",
        "x" * 5000,
    ],
)
async def test_no_other_file_can_be_registered(
    graph: Graph, stage_run: uuid.UUID, imports: Path, tmp_path: Path, path: str, engine: AsyncEngine
) -> None:
    (tmp_path / "secret").write_text("secret")
    (imports / "folder").mkdir()
    (imports / "link").symlink_to(tmp_path / "secret")
    (imports / "folder" / "link").symlink_to(tmp_path / "secret")
    (imports / "linked").symlink_to(tmp_path)
    os.mkfifo(imports / "pipe")
    (imports / "large").write_bytes(bytes((1 << 20) + 1))
    code, where = await refused(graph, stage_run, {"file": path})
    assert (code in ("BAD_INPUT", "NOT_FOUND"), where) == (True, "source.file")
    async with engine.connect() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(artifacts)) == 0


async def test_without_an_import_folder_no_file_can_be_registered(
    graph: Graph, stage_run: uuid.UUID, contexts: ContextFactory
) -> None:
    object.__setattr__(contexts.imports, "folder", None)
    payload = await register(graph, stage_run, {"file": "train.csv"})
    assert "MLP_IMPORT_FOLDER is not set" in payload["errors"][0]["message"]


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "s3://bucket",
        "s3:///key",
        "s3://user:password@bucket/key",
        "s3://bucket/key?X-Amz-Signature=1",
        "s3://[bucket/key",
        "s3://bucket/" + "k" * 1000,
    ],
)
async def test_an_address_must_be_plain(graph: Graph, stage_run: uuid.UUID, location: str) -> None:
    assert await refused(graph, stage_run, {"location": location}) == ("BAD_INPUT", "source.location")


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"stageRunId": NOTHING}, ("NOT_FOUND", "stageRunId")),
        ({"stageRunId": "?"}, ("NOT_FOUND", "stageRunId")),
        ({"name": " "}, ("BAD_INPUT", "name")),
        ({"name": "n" * 256}, ("BAD_INPUT", "name")),
        ({"name": "a\0b"}, ("BAD_INPUT", "name")),
        ({"artifactMetadata": [1]}, ("BAD_INPUT", "artifactMetadata")),
        ({"dataset": {"format": "f" * 51}}, ("BAD_INPUT", "dataset.format")),
        ({"dataset": {"rowCount": -1}}, ("BAD_INPUT", "dataset.rowCount")),
        ({"dataset": {"schema": {"a": 1}}}, ("BAD_INPUT", "dataset.schema")),
        ({"model": {"metrics": 1}}, ("BAD_INPUT", "model.metrics")),
        ({"model": {"algorithm": "a" * 101}}, ("BAD_INPUT", "model.algorithm")),
        ({"model": {"trainingDatasetId": NOTHING}}, ("NOT_FOUND", "model.trainingDatasetId")),
    ],
    ids=str,
)
async def test_an_error_names_the_field(
    graph: Graph, stage_run: uuid.UUID, more: dict[str, Any], where: tuple[str, str]
) -> None:
    assert await refused(graph, stage_run, {"text": "1"}, **more) == where


async def test_all_problems_of_a_registration_are_reported_at_once(
    graph: Graph, stage_run: uuid.UUID
) -> None:
    payload = await register(
        graph,
        stage_run,
        {"location": "http://host/key"},
        name=" ",
        description="d" * 10_001,
        artifactMetadata=[1],
        dataset={"format": "f" * 51, "rowCount": -1, "columnCount": -1, "schema": {"a": 1}},
        model={"algorithm": "a" * 101, "metrics": 1, "trainingConfig": "x"},
    )
    assert payload["artifact"] is None
    assert {error["code"] for error in payload["errors"]} == {"BAD_INPUT"}
    assert [".".join(error["path"]) for error in payload["errors"]] == [
        "name",
        "description",
        "artifactMetadata",
        "dataset.format",
        "dataset.rowCount",
        "dataset.columnCount",
        "dataset.schema",
        "model.algorithm",
        "model.trainingConfig",
        "model.metrics",
        "source.location",
    ]


@pytest.mark.parametrize("source", [{}, {"text": "1", "file": "a"}, {"text": None}])
async def test_exactly_one_source_is_given(
    graph: Graph, stage_run: uuid.UUID, source: dict[str, Any]
) -> None:
    said = {"stageRunId": str(stage_run), "name": "a", "artifactType": "REPORT", "source": source}
    result = await graph.result(REGISTER, input=said)
    assert result.data is None
    assert result.errors
    assert "Maybe" not in str(result.errors)


async def test_an_artifact_is_described_anew_and_withdrawn(graph: Graph, stage_run: uuid.UUID) -> None:
    artifact = await registered(graph, stage_run, {"text": "1"}, description="first")

    async def update(**changes: Any) -> Any:
        data = await graph.data(UPDATE, input={"artifactId": artifact["id"], **changes})
        assert data["updateArtifact"]["errors"] == []
        return data["updateArtifact"]["artifact"]

    assert (await update(artifactMetadata={"a": 1}))["description"] == "first"
    assert (await update(description=None))["description"] is None
    assert (await update())["artifactMetadata"] == {"a": 1}
    withdrawn = await update(isActive=False)
    assert (withdrawn["isActive"], withdrawn["downloadUrl"]) == (False, None)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"artifactId": NOTHING}, ("NOT_FOUND", ["artifactId"])),
        ({"artifactId": "x"}, ("NOT_FOUND", ["artifactId"])),
        ({"artifactMetadata": 1}, ("BAD_INPUT", ["artifactMetadata"])),
        ({"description": "d" * 10_001}, ("BAD_INPUT", ["description"])),
        ({"isActive": None}, ("BAD_INPUT", ["isActive"])),
    ],
    ids=str,
)
async def test_an_impossible_update_names_the_field(
    graph: Graph, stage_run: uuid.UUID, changes: dict[str, Any], where: tuple[str, list[str]]
) -> None:
    artifact = await registered(graph, stage_run, {"text": "1"})
    payload = (await graph.data(UPDATE, input={"artifactId": artifact["id"], **changes}))["updateArtifact"]
    assert payload["artifact"] is None
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [where]
