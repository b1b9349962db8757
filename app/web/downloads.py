"""``GET /artifacts/{id}/content``: the bytes of an artifact, which a browser saves or shows but never executes."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from app.database.reads.downloads import downloadable_artifact
from app.database.reads.streams import Row
from app.storage.base import ArtifactStore, BlobNotFound, StorageError
from app.telemetry import bind_log_ids

_SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "text/plain", "application/json", "text/csv"})
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNSAFE_IN_QUOTES = re.compile(r"[^ !#-\[\]-~]|[%/]")
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
        return [Route("/artifacts/{artifact_id:uuid}/content", self.content, name="artifact_content")]

    async def content(self, request: Request) -> Response:
        async with self._engine.connect() as connection:
            artifact = await downloadable_artifact(connection, request.path_params["artifact_id"])
        if artifact is None:
            raise HTTPException(404, "There is no such artifact, or its bytes are not stored.")
        bind_log_ids(run_id=artifact.run_id, stage_run_id=artifact.stage_run_id)
        headers = _headers(artifact)
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
