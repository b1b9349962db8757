"""What a store of artifact bytes does, wherever the bytes are."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.domain.vocabulary import StorageType
from app.errors import DomainError, ErrorCode

SHA256 = re.compile(r"[0-9a-f]{64}")
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """Bytes in a store, named by the SHA-256 of their content (64 lower-case hexadecimal digits)."""

    sha256: str
    size_bytes: int
    storage_type: StorageType
    """The kind of store they are in."""

    @property
    def key(self) -> str:
        """Where they are below the root of their store; this is ``artifacts.file_path``."""
        return blob_key(self.sha256)


class StorageError(DomainError):
    """A store failed."""

    code = ErrorCode.UNAVAILABLE


class BlobNotFound(StorageError):
    """The store has no blob of this digest."""

    code = ErrorCode.NOT_FOUND


class BlobCorrupt(StorageError):
    """The stored bytes do not have the digest that names them."""


class StorageFull(StorageError):
    """The store has no space or no quota left."""

    code = ErrorCode.INSUFFICIENT_STORAGE


class StorageDenied(StorageError):
    """The store refuses the server's credentials, or the server's user may not write there."""


class StorageMisconfigured(StorageError):
    """The store does not exist or can't work with these settings; a retry does not help."""


class StorageUnavailable(StorageError):
    """The store did not answer or failed; a retry may help."""


class ArtifactStore(Protocol):
    """Content-addressed bytes: putting the same content twice stores it once.

    A blob becomes visible only by the commit of a row that refers to it. A caller that dies after a put leaves
    garbage, never a wrong artifact. Every method may raise ``StorageError``.
    """

    @property
    def storage_type(self) -> StorageType:
        """The kind of this store, as rows of artifacts hold it."""

    async def put_fd(self, fd: int) -> StoredBlob:
        """Store the whole file behind ``fd`` from its first byte; ``fd`` stays open and its position unchanged."""

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes ``start <= i < end`` in chunks of at most 1 MiB.

        A read of the whole blob is verified: it raises ``BlobCorrupt`` in place of the last chunk, so wrong content
        is never delivered completely. A read of a range is not verified.
        """

    async def stat(self, sha256: str) -> StoredBlob:
        """The blob's digest and size, without reading it."""

    async def materialise(self, sha256: str, target: Path) -> None:
        """Put a private, read-only copy at ``target``; makes its folders and replaces a file."""

    async def delete(self, sha256: str, *, older_than_seconds: float = 0.0) -> bool:
        """Remove the blob unless it was put within that time, by any process; returns whether it is gone.

        Deleting a missing blob is not an error.
        """

    def old_blobs(self, older_than_seconds: float) -> AsyncGenerator[list[str], None]:
        """Digests of all blobs that were not put within that time, in batches."""

    async def remove_unfinished(self, older_than_seconds: float = DAY_SECONDS) -> int:
        """Remove what crashed writers left behind; returns how many things."""

    async def check(self) -> None:
        """Prove that the store can be written to."""


def blob_key(sha256: str) -> str:
    """Where a blob is below the root (or prefix) of any store."""
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256[:80]!r}")
    return f"blobs/sha256/{sha256[:2]}/{sha256}"
