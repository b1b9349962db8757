"""Opens files in folders that another program may change: follows no link and waits for no pipe.

Imports the standard library only, because the runner shim loads it.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False  # importing typing would cost the shim a fifth of its start time
if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without O_NONBLOCK, opening a pipe blocks until another program writes to it."""

_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def open_plain(path: str | os.PathLike[str]) -> tuple[int, os.stat_result] | None:
    """A descriptor for reading a plain file and the file's status; None if there is no plain file."""
    try:
        descriptor = os.open(path, FILE_FLAGS)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    return None


def read_plain(path: str | os.PathLike[str], limit_bytes: int, offset: int = 0) -> bytes:
    """At most ``limit_bytes`` of a plain file from ``offset`` on; empty if there is no plain file."""
    opened = open_plain(path)
    if opened is None:
        return b""
    descriptor, _ = opened
    try:
        return os.pread(descriptor, limit_bytes, offset)
    finally:
        os.close(descriptor)


def open_beneath(folder: int, parts: Sequence[str]) -> int:
    """A descriptor for reading the file at ``parts`` below an open folder; ``folder`` stays open.

    Raises OSError, whose ``filename`` is the part of the path that could not be opened.
    """
    current = folder
    for depth, part in enumerate(parts, start=1):
        flags = FILE_FLAGS if depth == len(parts) else FOLDER_FLAGS
        try:
            descriptor = os.open(part, flags, dir_fd=current)
        except OSError as error:
            error.filename = "/".join(parts[:depth])
            raise
        finally:
            if current != folder:
                os.close(current)
        current = descriptor
    return current
