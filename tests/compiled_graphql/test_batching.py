"""Data loaders: one batch for all who ask at a time, each key once, and nothing left behind."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from app.compiled_graphql.batching import DataLoader, NodeLoader
from app.errors import NotFound


class Squares:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def load(self, keys: list[int]) -> list[int]:
        self.batches.append(keys)
        await asyncio.sleep(0)
        if 13 in keys:
            raise ValueError("13")
        return [key * key for key in keys]


async def test_those_who_ask_together_share_a_batch_and_each_key_is_loaded_once() -> None:
    squares = Squares()
    loader = DataLoader(squares.load)

    async def ask(key: int) -> int:
        return await loader.load(key)

    assert await asyncio.gather(ask(1), loader.load(2), ask(1), loader.load_many([2, 3])) == [1, 4, 1, [4, 9]]
    assert await loader.load(2) == 4
    assert squares.batches == [[2, 3, 1]]


async def test_all_of_a_failed_batch_get_its_error() -> None:
    loader = DataLoader(Squares().load)
    results = await asyncio.gather(loader.load(1), loader.load(13), return_exceptions=True)
    assert [str(result) for result in results] == ["13", "13"]


async def test_an_error_does_not_grow_with_those_who_get_it() -> None:
    loader = DataLoader(Squares().load)
    lengths = set()
    for _ in range(3):
        with pytest.raises(ValueError, match="13") as raised:
            await loader.load(13)
        lengths.add(len(raised.traceback))
    assert len(lengths) == 1


async def test_a_wrong_number_of_values_is_an_error() -> None:
    async def none(keys: list[int]) -> list[int]:
        return []

    with pytest.raises(ValueError, match="0 values for 1 keys"):
        await DataLoader(none).load(1)


async def test_a_required_node_that_is_missing_was_deleted_a_moment_ago() -> None:
    there, gone = uuid.uuid4(), uuid.uuid4()

    async def load(keys: list[uuid.UUID]) -> list[str | None]:
        return ["node" if key == there else None for key in keys]

    loader = NodeLoader(load)
    assert await loader.load(gone) is None
    assert await loader.require(there) == "node"
    with pytest.raises(NotFound):
        await loader.require(gone)


async def test_a_stopped_loader_ends_its_batches() -> None:
    ended = asyncio.Event()

    async def load(keys: list[int]) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return keys

    loader = DataLoader(load)
    waiting = asyncio.ensure_future(loader.load(1))
    for _ in range(3):
        await asyncio.sleep(0)
    loader.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
