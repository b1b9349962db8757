"""The bytes of an artifact, which a browser saves or shows but never executes.

``GET /artifacts/{id}/content``, and for the versions of registered models ``GET /models/{name}/{version}/content`` and
``GET /models/{name}@{alias}/content``.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from app.database.reads.downloads import downloadable_artifact, version_of_alias, version_of_number
from app.database.reads.streams import Row
from app.domain.registry import LARGEST_VERSION, alias_problem, name_problem
from app.storage.base import ArtifactStore, BlobNotFound, StorageError
from app.telemetry import bind_log_ids

_SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "text/plain", "application/json", "text/csv"})
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNSAFE_IN_QUOTES = re.compile(r"[^ !#-\[\]-~]|[%/]")
VERSION_HEADER = "X-Model-Version"
SAFETY_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ByteRange(NamedTuple):
    """Bytes ``start <= i < end``."""

    start: int
    end: int


class Downloads:
    """Streams artifacts from the store, without holding a database connection."""

    def __init__(self, engine: AsyncEngine, store: ArtifactStore) -> None:
        self._engine = engine
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("/artifacts/{artifact_id:uuid}/content", self.content, name="artifact_content"),
            Route("/models/{name}@{alias}/content", self.content_of_alias, name="alias_content"),
            Route("/models/{name}/{version:int}/content", self.content_of_version, name="version_content"),
        ]

    async def content(self, request: Request) -> Response:
        return await self._content(request, request.path_params["artifact_id"], {})

    async def content_of_alias(self, request: Request) -> Response:
        name, alias = request.path_params["name"], request.path_params["alias"]
        if name_problem(name) or alias_problem(alias):
            raise _no_version()
        return await self._content_of_version(request, version_of_alias(name, alias))

    async def content_of_version(self, request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params["version"]
        if name_problem(name) or version > LARGEST_VERSION:
            raise _no_version()
        return await self._content_of_version(request, version_of_number(name, version))

    async def _content_of_version(self, request: Request, statement: sa.Select[Any]) -> Response:
        """The bytes of a version; the response says which one it is, because an alias may move at any time."""
        async with self._engine.connect() as connection:
            found = (await connection.execute(statement)).one_or_none()
        if found is None:
            raise _no_version()
        return await self._content(request, found.artifact_id, {VERSION_HEADER: str(found.version)})

    async def _content(self, request: Request, artifact_id: UUID, more: dict[str, str]) -> Response:
        async with self._engine.connect() as connection:
            artifact = await downloadable_artifact(connection, artifact_id)
        if artifact is None:
            raise HTTPException(404, "There is no such artifact, or its bytes are not stored.")
        bind_log_ids(run_id=artifact.run_id, stage_run_id=artifact.stage_run_id)
        headers = _headers(artifact) | more
        if _is_known(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        size: int = artifact.file_size
        wanted = _wanted_range(request, headers["ETag"], size)
        if wanted is None:
            return await self._stream(request, artifact, headers, 200, ByteRange(0, size))
        if wanted.start >= wanted.end:
            return Response(
                status_code=416,
                headers=SAFETY_HEADERS | {"Accept-Ranges": "bytes", "Content-Range": f"bytes */{size}"},
            )
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.end - 1}/{size}"
        return await self._stream(request, artifact, headers, 206, wanted)

    async def _stream(
        self, request: Request, artifact: Row, headers: dict[str, str], status: int, part: ByteRange
    ) -> Response:
        headers["Content-Length"] = str(part.end - part.start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        is_whole = part == (0, artifact.file_size)
        chunks = self._store.open(artifact.sha256, part.start, None if is_whole else part.end)
        # Read the first chunk before the status line: a blob that can't be read must not begin with 200.
        try:
            first = await anext(chunks, b"")
        except BlobNotFound:
            raise HTTPException(404, "The bytes of this artifact are no longer in the store.") from None
        except StorageError as error:
            raise HTTPException(503, error.message) from error
        return ChunkResponse(_with_first(first, chunks), status, headers)


def _no_version() -> HTTPException:
    return HTTPException(404, "There is no such registered model, version or alias.")


class ChunkResponse(StreamingResponse):
    """Streams chunks, and closes their source when the client disconnects."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> None:
        super().__init__(chunks, status, headers)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().stream_response(send)


async def _with_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


def _headers(artifact: Row) -> dict[str, str]:
    media_type = _media_type(artifact.media_type, artifact.file_name)
    shown = media_type in _SHOWN_TYPES
    return SAFETY_HEADERS | {
        "Accept-Ranges": "bytes",
        "Content-Type": f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type,
        "Content-Disposition": disposition("inline" if shown else "attachment", artifact.file_name),
        "ETag": f'"{artifact.sha256}"',
    }


def _media_type(stored: str | None, file_name: str) -> str:
    candidate = (stored or mimetypes.guess_type(file_name)[0] or "").partition(";")[0].strip().lower()
    return candidate if _MEDIA_TYPE.fullmatch(candidate) else "application/octet-stream"


def disposition(kind: str, file_name: str) -> str:
    """``Content-Disposition`` of RFC 6266: the name in ASCII, and in UTF-8 for clients that support it."""
    plain = _UNSAFE_IN_QUOTES.sub("_", file_name)
    true = quote(file_name.encode(errors="replace"), safe="")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{true}"


def _is_known(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _wanted_range(request: Request, etag: str, size: int) -> ByteRange | None:
    """The requested range, empty if it is beyond the end; ``None`` for the whole content.

    Several ranges, other units and invalid headers are ignored, as RFC 9110 allows.
    """
    if request.headers.get("if-range", etag) != etag:
        return None
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return ByteRange(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return ByteRange(int(first), min(int(last) + 1, size) if last else size)
