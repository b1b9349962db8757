"""All outputs of a stage run as one archive: exactly the files that its dependents get."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from live_run import LiveRun
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from web_server import client_of

from app.database.columns import new_id
from app.domain.artifacts import OUTPUTS_PATH
from app.domain.vocabulary import ArtifactStatus
from app.storage.base import StoredBlob
from app.storage.local import LocalStore
from app.web.archives import Archives
from tests.stored_files import put_file

LONG = f"reports/{'x' * 120}/\N{PENGUIN}.txt"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


@pytest.fixture
async def client(engine: AsyncEngine, store: LocalStore) -> AsyncIterator[aiohttp.ClientSession]:
    async with client_of(Starlette(routes=Archives(engine, store).routes())) as client:
        yield client


@pytest.fixture
async def run(engine: AsyncEngine) -> LiveRun:
    return await LiveRun.insert(engine)


async def stored(store: LocalStore, folder: Path, content: bytes) -> StoredBlob:
    path = folder / "to be stored"
    path.write_bytes(content)
    return await put_file(store, path)


async def unpacked(client: aiohttp.ClientSession, stage_run_id: uuid.UUID) -> dict[str, bytes]:
    """The files of the archive, whose length must match its header."""
    async with client.get(OUTPUTS_PATH % stage_run_id) as response:
        assert response.status == 200, await response.text()
        content = await response.read()
        assert response.headers["Content-Length"] == str(len(content))
        assert response.headers["Content-Type"] == "application/x-tar"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"].startswith("attachment; ")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            files[member.name] = file.read()
    return files


async def test_an_archive_contains_exactly_the_outputs_of_the_last_attempt(
    client: aiohttp.ClientSession, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    contents = {"models/model.bin": bytes(range(256)) * 9000, "empty.txt": b"", LONG: b"penguin"}
    for path, content in contents.items():
        await run.add_artifact(await stored(store, tmp_path, content), path)
    other = await stored(store, tmp_path, b"not an output any more")
    await run.add_artifact(other, "earlier.txt", attempt=7)
    await run.add_artifact(other, "withdrawn.txt", is_active=False)
    await run.add_artifact(other, "failed.txt", status=ArtifactStatus.FAILED)
    await run.add_artifact(other, "output.log", is_captured_log=True)
    files = await unpacked(client, run.stage_run_id)
    (folder,) = {name.partition("/")[0] for name in files}
    assert files == {f"{folder}/{path}": content for path, content in contents.items()}


async def test_a_stage_run_without_outputs_has_an_empty_archive(
    client: aiohttp.ClientSession, run: LiveRun
) -> None:
    assert await unpacked(client, run.stage_run_id) == {}


async def test_a_head_request_for_an_archive_returns_its_length(
    client: aiohttp.ClientSession, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    await run.add_artifact(await stored(store, tmp_path, b"x" * 1000), "a.txt")
    async with client.head(OUTPUTS_PATH % run.stage_run_id) as head:
        assert (head.status, await head.read()) == (200, b"")
    async with client.get(OUTPUTS_PATH % run.stage_run_id) as whole:
        assert head.headers["Content-Length"] == str(len(await whole.read()))


async def test_missing_and_unreadable_outputs_are_refused_before_the_response_begins(
    client: aiohttp.ClientSession, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    async with client.get(OUTPUTS_PATH % new_id()) as response:
        assert response.status == 404
    blob = await stored(store, tmp_path, b"soon gone")
    await run.add_artifact(blob, "gone.txt")
    assert await store.delete(blob.sha256)
    async with client.get(OUTPUTS_PATH % run.stage_run_id) as response:
        assert response.status == 404
        assert "no longer in the store" in await response.text()


async def test_an_archive_with_damaged_bytes_is_never_complete(
    client: aiohttp.ClientSession, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    blob = await stored(store, tmp_path, b"x" * 3_000_000)
    await run.add_artifact(blob, "damaged.bin")
    path = store.path(blob.sha256)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"y")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(OUTPUTS_PATH % run.stage_run_id) as response:
            await response.read()
