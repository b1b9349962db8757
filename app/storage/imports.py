"""Puts files that clients name or send into the store: files below one folder only."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from app.errors import DomainError, NotFound
from app.open_files import open_beneath
from app.storage.base import ArtifactStore, StoredBlob


@dataclass(frozen=True)
class Imports:
    """Puts into the store what a client names or sends. Without ``folder`` a client can't name a file."""

    store: ArtifactStore
    folder: Path | None
    limit_bytes: int

    async def file(self, path: str) -> StoredBlob:
        """Stores a plain file below the folder. Follows no symbolic link. Raises ``DomainError``."""
        if self.folder is None:
            raise DomainError("This server imports no files: MLP_IMPORT_FOLDER is not set.")
        fd = await to_thread.run_sync(self._opened, self.folder, path)
        try:
            return await self.store.put_fd(fd)
        finally:
            os.close(fd)

    async def text(self, text: str) -> StoredBlob:
        """Stores the text as a file in UTF-8."""
        with await to_thread.run_sync(_spooled, text) as file:
            return await self.store.put_fd(file.fileno())

    def _opened(self, folder: Path, path: str) -> int:
        parts = path.split("/")
        if not all(parts) or ".." in parts or "." in parts or "\0" in path:
            raise DomainError("Name a file by its path in MLP_IMPORT_FOLDER, like data/train.csv.")
        try:
            fd = _open_file(folder, parts)
        except OSError as error:
            raise NotFound(f"No such file can be read in MLP_IMPORT_FOLDER: {error.strerror}.") from None
        try:
            self._check(os.fstat(fd))
        except DomainError:
            os.close(fd)
            raise
        return fd

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise DomainError("This is not a file.")
        if status.st_size > self.limit_bytes:
            raise DomainError(f"The file has {status.st_size} bytes; at most {self.limit_bytes} are allowed.")


def _spooled(text: str) -> tempfile._TemporaryFileWrapper[bytes]:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(text.encode(errors="replace"))
    file.flush()
    return file


def _open_file(folder: Path, parts: list[str]) -> int:
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return open_beneath(folder_fd, parts)
    except OSError as error:
        # The system's own words mislead here: too many levels of links, or not a directory.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and (folder / error.filename).is_symlink():
            raise OSError(error.errno, "symbolic links are not followed") from None
        raise
    finally:
        os.close(folder_fd)
