"""The folders of a worker below ``MLP_HOME``, and the id of the host they are on."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from app.runner.lock import try_lock

_LOCK_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class WorkerHome:
    """Everything a worker stores on disk. Folders have mode 0700: logs and parameters may be private."""

    root: Path

    @property
    def attempts(self) -> Path:
        """One folder per attempt that has not ended."""
        return self.root / "attempts"

    @property
    def artifacts(self) -> Path:
        """The LOCAL store."""
        return self.root / "artifacts"

    def make(self) -> None:
        """Makes the folders that are missing."""
        for folder in (self.attempts, self.artifacts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def host_id(self) -> uuid.UUID:
        """Identifies this home for ever: the process that supervises it owns the attempts whose files are here."""
        path = self.root / "host_id"
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(f"{uuid.uuid4()}\n")
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            temporary.unlink()
        return uuid.UUID(path.read_text().strip())

    @contextlib.asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Locks this home for one supervisor. Waits for the end of another process that holds it."""
        with (self.root / "supervisor.lock").open("ab") as lock:
            while not try_lock(lock.fileno()):  # noqa: ASYNC110 (the holder is another process)
                await anyio.sleep(_LOCK_POLL_SECONDS)
            yield
