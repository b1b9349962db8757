"""The folders of a worker under ``MLP_HOME``, and the identity of the host they are on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio

_LOCK_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class WorkerHome:
    """Everything a worker keeps on disk; made with mode 0700, since logs and parameters may be private."""

    root: Path

    @property
    def attempts(self) -> Path:
        """One folder per attempt that is not over."""
        return self.root / "attempts"

    @property
    def artifacts(self) -> Path:
        """The LOCAL store."""
        return self.root / "artifacts"

    def make(self) -> None:
        """Creates what is missing."""
        for folder in (self.attempts, self.artifacts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def host_id(self) -> uuid.UUID:
        """Names this home for good: attempts whose files are here belong to whoever supervises it."""
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
        """Waits until no other process supervises this home, then holds it; a dead holder frees it at once."""
        with (self.root / "supervisor.lock").open("ab") as lock:
            while not _try_lock(lock.fileno()):  # noqa: ASYNC110 (the holder is another process)
                await anyio.sleep(_LOCK_POLL_SECONDS)
            yield


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
