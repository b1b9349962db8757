"""Artifacts in a folder of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from app.domain.vocabulary import StorageType
from app.storage.base import DAY_SECONDS, SHA256, StorageError, StorageMisconfigured, StoredBlob, blob_key
from app.storage.files import (
    copy_and_hash,
    copy_private,
    file_lock,
    make_durable_folder,
    storage_errors,
    sync_folder,
    write_all,
)
from app.storage.reader import VerifiedReader

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


class LocalStore:
    """Implements ``ArtifactStore``: blobs are read-only files ``<root>/blobs/sha256/<2>/<64 hex>`` that never change.

    A blob is written to ``<root>/tmp`` and gets its name when its bytes are on the disk. A crash leaves either the
    whole blob or a temporary file for ``remove_unfinished``. Writers and readers have separate threads: downloads do
    not wait for large uploads.

    A blob's modification time is the time of its last put. Putting and deleting take a file lock, so that no process
    deletes a blob that another one puts again at the same moment.
    """

    def __init__(self, root: Path, *, writers: int = 4, readers: int = 4) -> None:
        self.root = root
        self._temporary = root / "tmp"
        self._lock = root / "lock"
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-read")

    @property
    def storage_type(self) -> StorageType:
        return StorageType.LOCAL

    def path(self, sha256: str) -> Path:
        """The file of a blob, whether it exists or not. Never write to it."""
        return self.root / blob_key(sha256)

    async def put_fd(self, fd: int) -> StoredBlob:
        # The thread may outlive a cancelled caller, which closes its descriptor: the thread needs its own.
        own_fd = os.dup(fd)
        job = self._writers.submit(self._put, own_fd)
        job.add_done_callback(lambda _: os.close(own_fd))
        return await asyncio.wrap_future(job)

    async def open(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        reader = VerifiedReader(self.path(sha256), sha256, start, end)
        job = self._readers.submit(reader.next_chunk)
        try:
            while chunk := await asyncio.wrap_future(job):
                job = self._readers.submit(reader.next_chunk)
                yield chunk
        finally:
            # A cancelled caller may leave a read in progress: close the file after it.
            job.add_done_callback(lambda _: reader.close())

    async def stat(self, sha256: str) -> StoredBlob:
        return await _run(self._readers, self._stat, sha256)

    async def materialise(self, sha256: str, target: Path) -> None:
        await _run(self._writers, self._materialise, sha256, target)

    async def delete(self, sha256: str, *, older_than_seconds: float = 0.0) -> bool:
        return await _run(self._writers, self._delete, sha256, older_than_seconds)

    async def old_blobs(self, older_than_seconds: float) -> AsyncGenerator[list[str], None]:
        """In batches of one folder each."""
        for folder in await _run(self._readers, _subfolders, self.root / "blobs" / "sha256"):
            yield await _run(self._readers, _old_blobs, folder, older_than_seconds)

    async def check(self) -> None:
        await _run(self._writers, self._check)

    async def remove_unfinished(self, older_than_seconds: float = DAY_SECONDS) -> int:
        return await _run(self._writers, self._sweep, older_than_seconds)

    def _put(self, source_fd: int) -> StoredBlob:
        with storage_errors("store a file"):
            temporary, fd = self._new_temporary()
            try:
                sha256, size_bytes = copy_and_hash(source_fd, fd)
                os.fchmod(fd, 0o444)
                os.fsync(fd)
                self._publish(temporary, self.path(sha256), size_bytes)
            finally:
                os.close(fd)
                temporary.unlink(missing_ok=True)
        return StoredBlob(sha256, size_bytes, self.storage_type)

    def _new_temporary(self) -> tuple[Path, int]:
        make_durable_folder(self._temporary)
        path = self._temporary / f"{os.getpid()}-{uuid.uuid4().hex}"
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def _publish(self, temporary: Path, final: Path, size_bytes: int) -> None:
        make_durable_folder(final.parent)
        with file_lock(self._lock, exclusive=False):
            try:
                os.link(temporary, final)
            except FileExistsError:
                # Equal content is stored already. If the disk has cut it short, the new file replaces it.
                if final.stat().st_size == size_bytes:
                    os.utime(final)
                else:
                    temporary.replace(final)
        sync_folder(final.parent)

    def _stat(self, sha256: str) -> StoredBlob:
        with storage_errors(f"find {sha256}"):
            return StoredBlob(sha256, self.path(sha256).stat().st_size, self.storage_type)

    def _materialise(self, sha256: str, target: Path) -> None:
        with storage_errors(f"read {sha256}"):
            fd = os.open(self.path(sha256), os.O_RDONLY)
        try:
            with storage_errors(f"copy {sha256} to {target}"):
                copy_private(fd, target)
        finally:
            os.close(fd)

    def _delete(self, sha256: str, older_than_seconds: float) -> bool:
        path = self.path(sha256)
        if not path.exists():
            return True
        with storage_errors(f"delete {sha256}"), file_lock(self._lock, exclusive=True):
            if older_than_seconds and not _is_old(path, older_than_seconds):
                return False
            path.unlink(missing_ok=True)
        return True

    def _check(self) -> None:
        """Makes and links a file: some network and FUSE file systems have no hard links."""
        try:
            with storage_errors(f"write to {self.root}"):
                temporary, fd = self._new_temporary()
                linked = temporary.with_suffix(".linked")
                try:
                    write_all(fd, b"probe")
                    os.link(temporary, linked)
                finally:
                    os.close(fd)
                    temporary.unlink(missing_ok=True)
                    linked.unlink(missing_ok=True)
        except StorageError as error:
            raise StorageMisconfigured(error.message) from error

    def _sweep(self, older_than_seconds: float) -> int:
        if not self._temporary.is_dir():
            return 0
        removed = 0
        with storage_errors(f"sweep {self._temporary}"):
            for path in self._temporary.iterdir():
                with contextlib.suppress(FileNotFoundError):  # its writer has just removed it
                    if _is_old(path, older_than_seconds):
                        path.unlink()
                        removed += 1
        return removed


def _is_old(path: Path, older_than_seconds: float) -> bool:
    """Whether a file was last written longer ago than that; a missing file is old."""
    try:
        return path.lstat().st_mtime < time.time() - older_than_seconds
    except FileNotFoundError:
        return True


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _old_blobs(folder: Path, older_than_seconds: float) -> list[str]:
    with storage_errors(f"list {folder}"):
        blobs = [path for path in folder.iterdir() if SHA256.fullmatch(path.name)]
        return [path.name for path in blobs if _is_old(path, older_than_seconds)]


async def _run(
    threads: Executor, function: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs
) -> _Result:
    return await asyncio.wrap_future(threads.submit(function, *args, **kwargs))
