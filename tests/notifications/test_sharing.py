"""Equal questions of one moment share their answer."""

from __future__ import annotations

import asyncio

import pytest

from app.notifications.sharing import SharedReads


class Source:
    """Answers with how often it was asked, when the test lets it."""

    def __init__(self) -> None:
        self.reads = 0
        self.may_answer = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        answer = self.reads
        await self.may_answer.wait()
        return answer


async def asked(reads: SharedReads, source: Source, question: str = "a") -> asyncio.Task[int]:
    """A question which is under way."""
    task = asyncio.create_task(reads.ask(question, source.read))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_equal_questions_of_the_same_turn_are_one_read() -> None:
    reads, source = SharedReads(), Source()
    source.may_answer.set()
    answers = await asyncio.gather(*(reads.ask("a", source.read) for _ in range(100)))
    assert answers == [1] * 100


async def test_other_questions_have_reads_of_their_own() -> None:
    reads, source = SharedReads(), Source()
    source.may_answer.set()
    assert sorted(await asyncio.gather(*(reads.ask(name, source.read) for name in "abc"))) == [1, 2, 3]


async def test_a_later_question_does_not_join_a_read_which_has_begun() -> None:
    """That read may have missed what the later one was woken for."""
    reads, source = SharedReads(), Source()
    first, second = await asked(reads, source), await asked(reads, source)
    source.may_answer.set()
    assert await asyncio.gather(first, second) == [1, 2]


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    reads, source = SharedReads(), Source()
    leaving, staying = (asyncio.create_task(reads.ask("a", source.read)) for _ in range(2))
    await asked(reads, source, "another")
    leaving.cancel()
    await asyncio.wait([leaving])
    source.may_answer.set()
    assert leaving.cancelled()
    assert await staying == 1


async def test_an_error_reaches_everybody_who_asked() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    reads = SharedReads()
    results = await asyncio.gather(*(reads.ask("a", fail) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LookupError) for result in results)
    with pytest.raises(LookupError):
        await reads.ask("a", fail)
