"""What is special about the LOCAL store: its files, their modes, and what a crash or the disk does to them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.storage.base import BlobCorrupt, StorageMisconfigured, StoredBlob, blob_key
from app.storage.local import LocalStore
from tests.stored_files import put, put_file, read

MEBIBYTE = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def blob_files(store: LocalStore) -> list[Path]:
    return [path for path in (store.root / "blobs").rglob("*") if path.is_file()]


def temporary_files(store: LocalStore) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


async def test_equal_content_is_stored_once(store: LocalStore, tmp_path: Path) -> None:
    first = await put(store, tmp_path, b"same")
    second = await put(store, tmp_path, b"same")
    assert first == second
    assert blob_files(store) == [store.path(first.sha256)]
    assert temporary_files(store) == []


async def test_concurrent_puts_of_equal_content_all_succeed_and_leave_one_blob(
    store: LocalStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(MEBIBYTE))
    blobs = await asyncio.gather(*(put_file(store, source) for _ in range(20)))
    assert len(set(blobs)) == 1
    assert len(blob_files(store)) == 1
    assert temporary_files(store) == []


async def test_blobs_are_read_only_and_their_folders_private(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    assert stat.S_IMODE(store.path(blob.sha256).stat().st_mode) == 0o444
    assert stat.S_IMODE((store.root / "blobs").stat().st_mode) == 0o700
    assert store.path(blob.sha256) == store.root / blob_key(blob.sha256)


async def test_a_flipped_bit_is_found_before_the_whole_content_was_delivered(
    store: LocalStore, tmp_path: Path
) -> None:
    content = os.urandom(2 * MEBIBYTE + 50)
    blob = await put(store, tmp_path, content)
    overwrite(store.path(blob.sha256), bytes([content[0] ^ 1]) + content[1:])
    chunks = store.open(blob.sha256)
    assert [len(await anext(chunks)), len(await anext(chunks))] == [MEBIBYTE, MEBIBYTE]
    with pytest.raises(BlobCorrupt):
        await anext(chunks)


async def test_a_blob_emptied_by_the_disk_is_found(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    overwrite(store.path(blob.sha256), b"")
    with pytest.raises(BlobCorrupt):
        await read(store, blob.sha256)


async def test_putting_again_repairs_a_blob_that_was_cut_short(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    overwrite(store.path(blob.sha256), b"con")
    await put(store, tmp_path, b"content")
    assert await read(store, blob.sha256) == b"content"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_a_name_that_is_no_digest_never_becomes_a_path(store: LocalStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.path(name)


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK), reason="needs a second file system: a /dev/shm where it may write"
)
async def test_materialising_works_across_file_systems(store: LocalStore, tmp_path: Path) -> None:
    content = os.urandom(2 * MEBIBYTE + 3)
    blob = await put(store, tmp_path, content)
    target = Path("/dev/shm") / f"mlp-test-{os.getpid()}"
    try:
        await store.materialise(blob.sha256, target)
        assert target.read_bytes() == content
    finally:
        target.unlink(missing_ok=True)


async def test_a_writer_killed_before_the_blob_had_its_name_leaves_only_a_temporary_file(
    store: LocalStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    script = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from app.storage.local import LocalStore\n"
        "os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(LocalStore(pathlib.Path(sys.argv[1])).put_fd(os.open(sys.argv[2], os.O_RDONLY)))\n"
    )
    crashed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, str(store.root), str(source)], check=False
    )
    assert crashed.returncode == -9
    assert len(temporary_files(store)) == 1
    assert blob_files(store) == []

    blob = await put_file(store, source)
    assert await read(store, blob.sha256) == b"content"


def age(path: Path) -> None:
    """Make a file look as if it had been written two days ago."""
    two_days_ago = time.time() - 2 * 86_400
    os.utime(path, (two_days_ago, two_days_ago))


async def test_a_blob_put_lately_is_not_deleted(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    assert not await store.delete(blob.sha256, older_than_seconds=3600)
    assert await read(store, blob.sha256) == b"content"
    age(store.path(blob.sha256))
    assert await store.delete(blob.sha256, older_than_seconds=3600)
    assert blob_files(store) == []


async def test_putting_an_old_blob_again_makes_it_young(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    age(store.path(blob.sha256))
    await put(store, tmp_path, b"content")
    assert not await store.delete(blob.sha256, older_than_seconds=3600)


async def test_a_blob_put_while_it_is_deleted_is_there_afterwards(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await put(store, tmp_path, b"content")
    age(store.path(blob.sha256))
    loop, unlink = asyncio.get_running_loop(), Path.unlink
    puts: list[concurrent.futures.Future[StoredBlob]] = []

    def put_in_between(path: Path, missing_ok: bool = False) -> None:
        if path == store.path(blob.sha256) and not puts:
            puts.append(asyncio.run_coroutine_threadsafe(put(store, tmp_path, b"content"), loop))
            concurrent.futures.wait(puts, timeout=0.3)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", put_in_between)
    await store.delete(blob.sha256, older_than_seconds=3600)
    assert await asyncio.wrap_future(puts[0]) == blob
    assert await read(store, blob.sha256) == b"content"


async def test_a_put_waits_while_another_process_deletes(store: LocalStore, tmp_path: Path) -> None:
    blob = await put(store, tmp_path, b"content")
    deleted = tmp_path / "deleted"
    script = (
        "import pathlib, sys, time\n"
        "from app.storage.files import file_lock\n"
        "with file_lock(pathlib.Path(sys.argv[1]), exclusive=True):\n"
        "    print(flush=True)\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path(sys.argv[2]).unlink()\n"
        "    pathlib.Path(sys.argv[3]).touch()\n"
    )
    arguments = [str(store.root / "lock"), str(store.path(blob.sha256)), str(deleted)]
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    await put(store, tmp_path, b"content")
    assert deleted.exists()
    assert await read(store, blob.sha256) == b"content"
    await other.wait()


async def test_old_blobs_are_listed_folder_by_folder(store: LocalStore, tmp_path: Path) -> None:
    assert [batch async for batch in store.old_blobs(3600)] == []
    blobs = [await put(store, tmp_path, bytes([number])) for number in range(20)]
    for blob in blobs[1:]:
        age(store.path(blob.sha256))
    (store.path(blobs[1].sha256).parent / "not-a-digest").touch()
    batches = [batch async for batch in store.old_blobs(3600)]
    assert sorted(digest for batch in batches for digest in batch) == sorted(
        blob.sha256 for blob in blobs[1:]
    )
    assert all(len({digest[:2] for digest in batch}) <= 1 for batch in batches)


async def test_only_old_leftovers_are_swept(store: LocalStore) -> None:
    await store.check()
    old, young = store.root / "tmp" / "old", store.root / "tmp" / "young"
    old.write_bytes(b"old")
    young.write_bytes(b"young")
    age(old)
    assert await store.remove_unfinished() == 1
    assert temporary_files(store) == [young]


async def test_a_checked_store_leaves_nothing_behind(store: LocalStore) -> None:
    await store.check()
    assert temporary_files(store) == []


async def test_the_check_finds_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StorageMisconfigured, match="can't write to"):
        await LocalStore(tmp_path / "store").check()
