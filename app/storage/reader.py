"""Reads a blob's file and verifies its digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from app.storage.base import BlobCorrupt
from app.storage.files import CHUNK_BYTES, storage_errors


class VerifiedReader:
    """Reads a range of a blob chunk by chunk, in one thread at a time.

    A read of the whole file is hashed, and returns the last chunk only if the digest is right.
    """

    def __init__(self, path: Path, sha256: str, start: int, end: int | None) -> None:
        self._path = path
        self._sha256 = sha256
        self._position = start
        self._end = end
        self._stop = 0
        self._digest = hashlib.sha256() if start == 0 else None
        self._fd: int | None = None

    def next_chunk(self) -> bytes:
        """The next bytes, at most 1 MiB; empty at the end of the range."""
        with storage_errors(f"read {self._sha256}"):
            fd = self._open() if self._fd is None else self._fd
            wanted = max(0, min(CHUNK_BYTES, self._stop - self._position))
            chunk = os.pread(fd, wanted, self._position)
        self._position += len(chunk)
        self._check(chunk, wanted)
        return chunk

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        self._fd = os.open(self._path, os.O_RDONLY)
        size_bytes = os.fstat(self._fd).st_size
        self._stop = size_bytes if self._end is None else min(self._end, size_bytes)
        if self._stop < size_bytes:
            self._digest = None
        return self._fd

    def _check(self, chunk: bytes, wanted: int) -> None:
        if len(chunk) < wanted:
            raise BlobCorrupt(f"{self._sha256} became shorter while it was read")
        if self._digest is None:
            return
        self._digest.update(chunk)
        if self._position >= self._stop and self._digest.hexdigest() != self._sha256:
            raise BlobCorrupt(f"the stored bytes of {self._sha256} have another digest")
