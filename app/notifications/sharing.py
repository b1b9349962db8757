"""One answer for everybody who asks the same question at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar, cast

_Answer = TypeVar("_Answer")


class SharedReads:
    """A hint wakes all subscribers of a run in one turn of the event loop; those at the same cursor share a read.

    Only questions of the same turn are joined: a read which has begun may already have missed what the newcomer
    was woken for.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}

    async def ask(self, question: Hashable, read: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """The answer of ``read()``, which is called at most once per question and turn."""
        task = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(read())
            task.add_done_callback(_mark_retrieved)
            asyncio.get_running_loop().call_soon(self._asked.pop, question)
        # Shielded: one subscriber who leaves must not take the answer from the others.
        return cast(_Answer, await asyncio.shield(task))


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from reporting an error whose every reader has left."""
    if not task.cancelled():
        task.exception()
