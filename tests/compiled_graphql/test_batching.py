"""Data loaders: one batch for all keys asked for together, each key loaded once, nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from app.compiled_graphql.batching import DataLoader


class Squares:
    """Loads squares and remembers the batches; the square of 13 fails."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def load(self, keys: list[int]) -> list[int]:
        self.batches.append(keys)
        await asyncio.sleep(0)
        if 13 in keys:
            raise ValueError("13")
        return [key * key for key in keys]


async def test_keys_asked_for_together_are_one_batch_and_each_is_loaded_once() -> None:
    squares = Squares()
    loader = DataLoader(squares.load)

    async def ask(key: int) -> int:
        return await loader.load(key)

    assert await asyncio.gather(ask(1), loader.load(2), ask(1), loader.load_many([2, 3])) == [1, 4, 1, [4, 9]]
    assert await loader.load(2) == 4
    assert squares.batches == [[2, 3, 1]]


async def test_every_key_of_a_failed_batch_raises_its_error() -> None:
    loader = DataLoader(Squares().load)
    results = await asyncio.gather(loader.load(1), loader.load(13), return_exceptions=True)
    assert [str(result) for result in results] == ["13", "13"]


async def test_the_traceback_of_an_error_does_not_grow_each_time_it_is_raised() -> None:
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


async def test_a_required_value_that_is_missing_raises_the_given_exception() -> None:
    async def load(keys: list[str]) -> list[str | None]:
        return ["node" if key == "there" else None for key in keys]

    def missing() -> LookupError:
        return LookupError("deleted")

    loader = DataLoader(load)
    assert await loader.load("gone") is None
    assert await loader.load("there").required(missing) == "node"
    with pytest.raises(LookupError, match="deleted"):
        await loader.load("gone").required(missing)


async def test_stopping_a_loader_cancels_its_batches() -> None:
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
