"""The loaders of the graph."""

from __future__ import annotations

import uuid

import pytest

from app.errors import NotFound
from app.graphql.shared.loading import NodeLoader


async def test_a_required_node_that_is_missing_was_deleted_a_moment_ago() -> None:
    there, gone = uuid.uuid4(), uuid.uuid4()

    async def load(keys: list[uuid.UUID]) -> list[str | None]:
        return ["node" if key == there else None for key in keys]

    loader = NodeLoader(load)
    assert await loader.load(gone) is None
    assert await loader.require(there) == "node"
    with pytest.raises(NotFound):
        await loader.require(gone)
