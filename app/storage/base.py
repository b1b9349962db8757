"""What a store of artifact bytes can do, whichever machine the bytes are on."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.domain.vocabulary import StorageType
from app.errors import DomainError, ErrorCode

SHA256 = re.compile(r"[0-9a-f]{64}")


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
    """A store could not do what was asked."""

    code = ErrorCode.UNAVAILABLE


class BlobNotFound(StorageError):
    """No blob of this digest is in the store."""

    code = ErrorCode.NOT_FOUND


class BlobCorrupt(StorageError):
    """The stored bytes no longer have the digest they are named by."""


class StorageFull(StorageError):
    """The store has no room (or no quota) left."""

    code = ErrorCode.INSUFFICIENT_STORAGE


class StorageDenied(StorageError):
    """The store refuses our credentials, or our user may not write there."""


class StorageMisconfigured(StorageError):
    """The store does not exist or can't work with these settings; trying again will not help."""


class StorageUnavailable(StorageError):
    """The store did not answer or failed; trying again may help."""


class ArtifactStore(Protocol):
    """Content-addressed bytes: putting the same content twice stores it once.

    A blob becomes visible to users only by the database commit which refers to it, so a put whose caller
    died leaves garbage, never a wrong artifact. Every method may raise ``StorageError``.
    """

    @property
    def storage_type(self) -> StorageType:
        """The value of ``artifacts.storage_type`` for blobs of this store."""

    async def put_fd(self, fd: int) -> StoredBlob:
        """Store the whole file behind ``fd`` from its first byte; ``fd`` stays open and is not moved."""

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes ``start <= i < end`` in chunks of at most 1 MiB.

        A read of the whole blob is verified, and raises `BlobCorrupt` in place of the last chunk, so that
        a wrong content is never delivered completely. A range read can't be verified.
        """

    async def stat(self, sha256: str) -> StoredBlob:
        """The blob's digest and size, without reading it."""

    async def materialise(self, sha256: str, target: Path) -> None:
        """Put a private, read-only copy at ``target`` (and make its folders); it replaces a file."""

    async def delete(self, sha256: str, *, older_than_seconds: float = 0.0) -> bool:
        """Forget the blob, unless it was put within that time (by anybody); whether it is gone.

        Deleting what is not there is not an error.
        """

    async def check(self) -> None:
        """Prove that the store can be written to, at start-up."""


def blob_key(sha256: str) -> str:
    """Where a blob lives below the root (or prefix) of any store; this is ``artifacts.file_path``."""
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256[:80]!r}")
    return f"blobs/sha256/{sha256[:2]}/{sha256}"
