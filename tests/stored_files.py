"""Files put into a store by the tests themselves."""

from __future__ import annotations

from pathlib import Path

from app.storage.base import ArtifactStore, StoredBlob


async def put_file(store: ArtifactStore, path: Path) -> StoredBlob:
    with path.open("rb") as file:
        return await store.put_fd(file.fileno())
