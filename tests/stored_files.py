"""Files put into a store by the tests themselves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from app.storage.base import ArtifactStore, StoredBlob


async def put_file(store: ArtifactStore, path: Path) -> StoredBlob:
    with path.open("rb") as file:
        return await store.put_fd(file.fileno())


async def put(store: ArtifactStore, folder: Path, content: bytes) -> StoredBlob:
    source = folder / f"source-{hashlib.sha256(content).hexdigest()[:12]}"
    source.write_bytes(content)
    return await put_file(store, source)


async def read(store: ArtifactStore, sha256: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.open(sha256, start, end)])


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not come true within 10 seconds")
