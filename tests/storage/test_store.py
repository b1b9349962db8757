"""What every store does. A new implementation joins the suite by a line in ``STORES``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.storage.base import ArtifactStore, BlobNotFound, StoredBlob, blob_key
from app.storage.local import LocalStore
from tests.stored_files import open_descriptors, put, put_file, read, until

MEBIBYTE = 1 << 20
HOUR_SECONDS = 3600.0
STORES: Mapping[str, Callable[[Path], ArtifactStore]] = {"LOCAL": LocalStore}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return STORES[request.param](tmp_path / "store")


@pytest.mark.parametrize("size", [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3 * MEBIBYTE + 7])
async def test_what_is_put_is_read_back(store: ArtifactStore, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    blob = await put(store, tmp_path, content)
    digest = hashlib.sha256(content).hexdigest()
    assert blob == StoredBlob(digest, size, store.storage_type)
    assert blob.key == blob_key(digest)
    assert await store.stat(blob.sha256) == blob
    assert await read(store, blob.sha256) == content


async def test_chunks_are_bounded(store: ArtifactStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, bytes(2 * MEBIBYTE + 1))
    sizes = [len(chunk) async for chunk in store.open(blob.sha256)]
    assert sizes == [MEBIBYTE, MEBIBYTE, 1]


@pytest.mark.parametrize(
    ("start", "end"), [(0, 5), (3, None), (7, 7), (MEBIBYTE - 2, MEBIBYTE + 3), (0, 10**9), (10**9, None)]
)
async def test_ranges_are_half_open_and_stop_at_the_end(
    store: ArtifactStore, tmp_path: Path, start: int, end: int | None
) -> None:
    content = os.urandom(MEBIBYTE + 100)
    blob = await put(store, tmp_path, content)
    assert await read(store, blob.sha256, start, end) == content[start:end]


async def test_putting_from_a_descriptor_reads_from_the_start_and_leaves_its_position(
    store: ArtifactStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    with source.open("rb") as file:
        file.seek(4)
        blob = await store.put_fd(file.fileno())
        assert file.read() == b"456789"
    assert blob.size_bytes == 10


async def test_equal_content_is_one_blob(store: ArtifactStore, tmp_path: Path) -> None:
    assert await put(store, tmp_path, b"same") == await put(store, tmp_path, b"same")
    assert [digests async for digests in store.old_blobs(0) if digests] == [
        [hashlib.sha256(b"same").hexdigest()]
    ]


async def test_concurrent_puts_of_equal_content_all_succeed(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(MEBIBYTE))
    [blob] = set(await asyncio.gather(*(put_file(store, source) for _ in range(20))))
    assert await read(store, blob.sha256) == source.read_bytes()


async def test_a_missing_blob_is_not_found_and_may_be_deleted(store: ArtifactStore, tmp_path: Path) -> None:
    missing = hashlib.sha256(b"missing").hexdigest()
    with pytest.raises(BlobNotFound):
        await read(store, missing)
    with pytest.raises(BlobNotFound):
        await store.stat(missing)
    with pytest.raises(BlobNotFound):
        await store.materialise(missing, tmp_path / "target")
    assert await store.delete(missing)


async def test_a_deleted_blob_is_gone(store: ArtifactStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    assert await store.delete(blob.sha256)
    with pytest.raises(BlobNotFound):
        await store.stat(blob.sha256)


async def test_a_blob_put_lately_is_neither_listed_as_old_nor_deleted(
    store: ArtifactStore, tmp_path: Path
) -> None:
    blob = await put(store, tmp_path, b"content")
    assert [digest async for digests in store.old_blobs(HOUR_SECONDS) for digest in digests] == []
    assert not await store.delete(blob.sha256, older_than_seconds=HOUR_SECONDS)
    assert await read(store, blob.sha256) == b"content"


async def test_all_blobs_are_listed_once(store: ArtifactStore, tmp_path: Path) -> None:
    assert [batch async for batch in store.old_blobs(0)] == []
    blobs = [await put(store, tmp_path, bytes([number])) for number in range(20)]
    listed = [digest async for digests in store.old_blobs(0) for digest in digests]
    assert sorted(listed) == sorted(blob.sha256 for blob in blobs)


@pytest.mark.parametrize("size", [0, 5, 3 * MEBIBYTE + 1])
async def test_a_materialised_copy_is_read_only_and_its_own_file(
    store: ArtifactStore, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    blob = await put(store, tmp_path, content)
    target = tmp_path / "inputs" / "train" / "data.bin"
    await store.materialise(blob.sha256, target)
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert target.stat().st_nlink == 1
    target.chmod(0o644)
    target.write_bytes(b"written by a stage that runs as root")
    assert await read(store, blob.sha256) == content


async def test_materialising_replaces_a_half_made_copy_and_never_follows_a_link(
    store: ArtifactStore, tmp_path: Path
) -> None:
    blob = await put(store, tmp_path, b"content")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    target = tmp_path / "target"
    target.symlink_to(victim)
    await store.materialise(blob.sha256, target)
    await store.materialise(blob.sha256, target)
    assert target.read_bytes() == b"content"
    assert not target.is_symlink()
    assert victim.read_text() == "untouched"


async def test_a_check_and_finished_puts_leave_nothing_unfinished(
    store: ArtifactStore, tmp_path: Path
) -> None:
    await store.check()
    await put(store, tmp_path, b"content")
    assert await store.remove_unfinished(0) == 0


async def test_cancelled_puts_and_reads_close_every_descriptor_and_leave_nothing_unfinished(
    store: ArtifactStore, tmp_path: Path
) -> None:
    blob = await put(store, tmp_path, os.urandom(8 * MEBIBYTE))
    source = tmp_path / "source"
    source.write_bytes(os.urandom(8 * MEBIBYTE))
    before = open_descriptors()
    tasks: list[asyncio.Task[object]] = []
    for _ in range(8):
        tasks.append(asyncio.create_task(put_file(store, source)))
        tasks.append(asyncio.create_task(read(store, blob.sha256)))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await until(lambda: open_descriptors() == before)
    assert await store.remove_unfinished(0) == 0


async def test_a_reader_that_stops_early_closes_its_file(store: ArtifactStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, bytes(4 * MEBIBYTE))
    before = open_descriptors()
    async with contextlib.aclosing(store.open(blob.sha256)) as chunks:
        await anext(chunks)
    await until(lambda: open_descriptors() == before)
