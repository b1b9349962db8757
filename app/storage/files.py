"""Durable files and private copies: what a store on a file system needs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from app.storage.base import BlobNotFound, StorageDenied, StorageFull, StorageUnavailable

CHUNK_BYTES = 1 << 20
_KERNEL_CHUNK_BYTES = 1 << 30
_FICLONE = 0x40049409
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNSUPPORTED = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EBADF}
)


@contextlib.contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turns errors of the operating system into those of a store; ``action`` is what failed: "store a file"."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound(f"can't {action}: it is not in the store") from error
    except OSError as error:
        message = f"can't {action}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StorageFull(message) from error
        if error.errno in _DENIED:
            raise StorageDenied(message) from error
        raise StorageUnavailable(message) from error


def is_full(error: BaseException) -> bool:
    """Whether the disk or the store is full, so that a later write may succeed."""
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in _FULL)


@contextlib.contextmanager
def file_lock(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Locks a file, made if missing, against other threads and processes of this machine."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def copy_and_hash(source_fd: int, target_fd: int) -> tuple[str, int]:
    """Copies a whole file in one pass; returns the SHA-256 and the size of the copy."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(source_fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    digest = hashlib.sha256()
    position = 0
    while chunk := os.pread(source_fd, CHUNK_BYTES, position):
        digest.update(chunk)
        position += write_all(target_fd, chunk)
    return digest.hexdigest(), position


def write_all(fd: int, data: bytes) -> int:
    """Writes every byte of ``data``; returns their number."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    return len(data)


def make_durable_folder(path: Path) -> None:
    """Makes a folder of mode 0700 and its parents. They survive a power failure."""
    if path.is_dir():
        return
    make_durable_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_private(source_fd: int, target: Path) -> None:
    """Makes ``target`` a read-only copy of ``source_fd``; replaces a file.

    Never a hard link: modes do not stop a stage that runs as root, and through a link it would write into the store.
    A failed copy leaves no file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _copy_bytes(source_fd, fd)
        os.fchmod(fd, 0o444)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _copy_bytes(source_fd: int, target_fd: int) -> None:
    if _reflink(source_fd, target_fd):
        return
    size_bytes = os.fstat(source_fd).st_size
    position = _copy_in_kernel(source_fd, target_fd, size_bytes)
    os.lseek(target_fd, position, os.SEEK_SET)
    while chunk := os.pread(source_fd, CHUNK_BYTES, position):
        position += write_all(target_fd, chunk)
    if position != size_bytes:
        raise OSError(errno.EIO, f"copied {position} of {size_bytes} bytes")


def _reflink(source_fd: int, target_fd: int) -> bool:
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
        return True
    return False


def _copy_in_kernel(source_fd: int, target_fd: int, size_bytes: int) -> int:
    """Copies as much as ``copy_file_range`` can; returns the number of bytes."""
    position = 0
    if sys.platform != "linux":
        return position
    while position < size_bytes:
        try:
            copied = os.copy_file_range(source_fd, target_fd, _KERNEL_CHUNK_BYTES, position, position)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return position
            raise
        if copied == 0:
            return position
        position += copied
    return position
