"""Names of the files in an attempt's folder, as the shim and the server know them."""

from __future__ import annotations

import errno
import os
import stat

SPEC = "spec.json"
LOCK = "lock"
JOURNAL = "events.jsonl"
OUTPUT = "output.log"
CANCEL = "cancel"
RESULT = "result.json"
UNFINISHED_RESULT = "result.tmp"
SHIM_ERRORS = "shim.err"
FOLDERS = ("out", "work", "home", "tmp", "inputs")

_NONE_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def open_plain(path: str | os.PathLike[str]) -> int | None:
    """A descriptor for reading, or None unless there is a plain file.

    A stage may put anything in the place of a file of its attempt: no link is followed, and no pipe waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NONE_THERE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def read_plain(path: str | os.PathLike[str], limit_bytes: int, offset: int = 0) -> bytes:
    """Bytes of a plain file; none where there is no such file."""
    descriptor = open_plain(path)
    if descriptor is None:
        return b""
    try:
        return os.pread(descriptor, limit_bytes, offset)
    finally:
        os.close(descriptor)
