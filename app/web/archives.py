"""``GET /stage-runs/{id}/outputs.tar``: all outputs of a stage run as one archive."""

from __future__ import annotations

import datetime as dt
import tarfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.database.reads.downloads import downloadable_outputs
from app.domain.artifacts import OUTPUTS_PATH
from app.storage.base import ArtifactStore, BlobNotFound, StorageError
from app.telemetry import bind_log_ids
from app.web.downloads import SAFETY_HEADERS, ChunkResponse, disposition

_BLOCK_BYTES = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK_BYTES)


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    header: bytes
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: str, sha256: str, size_bytes: int, at: dt.datetime) -> Member:
        info = tarfile.TarInfo(path)
        info.size, info.mtime, info.mode = size_bytes, int(at.timestamp()), 0o644
        return cls(info.tobuf(tarfile.PAX_FORMAT), sha256, size_bytes)

    @property
    def padding(self) -> bytes:
        return bytes(-self.size_bytes % _BLOCK_BYTES)

    @property
    def archived_bytes(self) -> int:
        return len(self.header) + self.size_bytes + len(self.padding)


class Archives:
    """Streams the archives from the store, without a temporary file."""

    def __init__(self, engine: AsyncEngine, store: ArtifactStore) -> None:
        self._engine = engine
        self._store = store

    def routes(self) -> list[Route]:
        return [Route(OUTPUTS_PATH % "{stage_run_id:uuid}", self.outputs, name="stage_outputs")]

    async def outputs(self, request: Request) -> Response:
        stage_run_id = request.path_params["stage_run_id"]
        async with self._engine.connect() as connection:
            found = await downloadable_outputs(connection, stage_run_id)
        if found is None:
            raise HTTPException(404, "There is no such stage run.")
        run_id, folder, files = found
        bind_log_ids(run_id=run_id, stage_run_id=stage_run_id)
        members = [
            Member.of(f"{folder}/{file.relative_path}", file.sha256, file.file_size, file.created_at)
            for file in files
        ]
        await self._check(members)
        headers = SAFETY_HEADERS | {
            "Content-Type": "application/x-tar",
            "Content-Disposition": disposition("attachment", f"{folder}.tar"),
            "Content-Length": str(sum(member.archived_bytes for member in members) + len(_END)),
        }
        if request.method == "HEAD":
            return Response(headers=headers)
        return ChunkResponse(self._archive(members), 200, headers)

    async def _check(self, members: Sequence[Member]) -> None:
        """Check every file before the status line: an archive that can't be made must not begin with 200."""
        try:
            for member in members:
                await self._store.stat(member.sha256)
        except BlobNotFound:
            raise HTTPException(404, "The bytes of these outputs are no longer in the store.") from None
        except StorageError as error:
            raise HTTPException(503, error.message) from error

    async def _archive(self, members: Sequence[Member]) -> AsyncGenerator[bytes, None]:
        for member in members:
            yield member.header
            async with aclosing(self._store.open(member.sha256)) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield member.padding
        yield _END
