"""Equal reads of one turn of the event loop, executed once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar, cast

_Result = TypeVar("_Result")


class CoalescedReads:
    """Executes equal reads once if they are requested in the same turn of the event loop.

    A notification wakes all subscribers of a run in one turn, and those at the same cursor need the same rows.
    Reads of different turns are not coalesced: the earlier one may have begun before the change that woke the later
    subscriber.
    """

    def __init__(self) -> None:
        self._requested: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, key: Hashable, execute: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """The result of ``execute()``, which is called at most once per key and turn."""
        task = self._requested.get(key)
        if task is None:
            task = self._requested[key] = asyncio.create_task(execute())
            task.add_done_callback(_mark_retrieved)
            asyncio.get_running_loop().call_soon(self._requested.pop, key)
        # Shielded, so that cancelling one caller does not cancel the read of the others.
        return cast(_Result, await asyncio.shield(task))


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging an error when all callers were cancelled."""
    if not task.cancelled():
        task.exception()
