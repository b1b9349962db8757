"""Equal reads of one turn of the event loop are executed once."""

from __future__ import annotations

import asyncio

import pytest

from app.notifications.coalesced_reads import CoalescedReads


class Source:
    """Returns the number of the execution, once the test lets it."""

    def __init__(self) -> None:
        self.executions = 0
        self.may_return = asyncio.Event()

    async def execute(self) -> int:
        self.executions += 1
        number = self.executions
        await self.may_return.wait()
        return number


async def begun(reads: CoalescedReads, source: Source, key: str = "a") -> asyncio.Task[int]:
    """A read that is being executed."""
    task = asyncio.create_task(reads.read(key, source.execute))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_equal_reads_of_the_same_turn_are_executed_once() -> None:
    reads, source = CoalescedReads(), Source()
    source.may_return.set()
    results = await asyncio.gather(*(reads.read("a", source.execute) for _ in range(100)))
    assert results == [1] * 100


async def test_different_reads_are_executed_separately() -> None:
    reads, source = CoalescedReads(), Source()
    source.may_return.set()
    assert sorted(await asyncio.gather(*(reads.read(key, source.execute) for key in "abc"))) == [1, 2, 3]


async def test_a_later_read_does_not_join_one_that_has_begun() -> None:
    """The earlier one may have missed the change that woke the later caller."""
    reads, source = CoalescedReads(), Source()
    first, second = await begun(reads, source), await begun(reads, source)
    source.may_return.set()
    assert await asyncio.gather(first, second) == [1, 2]


async def test_a_cancelled_caller_does_not_cancel_the_read_of_the_others() -> None:
    reads, source = CoalescedReads(), Source()
    leaving, staying = (asyncio.create_task(reads.read("a", source.execute)) for _ in range(2))
    await begun(reads, source, "another")
    leaving.cancel()
    await asyncio.wait([leaving])
    source.may_return.set()
    assert leaving.cancelled()
    assert await staying == 1


async def test_an_error_reaches_every_caller() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    reads = CoalescedReads()
    results = await asyncio.gather(*(reads.read("a", fail) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LookupError) for result in results)
    with pytest.raises(LookupError):
        await reads.read("a", fail)
