"""The executors of a worker, chosen by the name in a stage's definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.execution.executors.base import Executor
from app.services.logs import LogPart


class UnknownExecutor(Exception):
    """A stage names an executor that this worker does not have."""


class Executors:
    """A worker's executors by name. Implements ``LiveLogs`` over all of them."""

    def __init__(self, by_name: Mapping[str, Executor]) -> None:
        self._by_name = dict(by_name)

    def __getitem__(self, name: str) -> Executor:
        """Raises ``UnknownExecutor``."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise UnknownExecutor(f"this worker has no executor {name!r}; it has {known}") from None

    def __iter__(self) -> Iterator[Executor]:
        return iter(self._by_name.values())

    async def read_log(self, attempt_id: str, offset: int, max_bytes: int) -> LogPart | None:
        """Part of a live log, from the executor that has it."""
        for executor in self:
            part = await executor.read_log(attempt_id, offset, max_bytes)
            if part is not None:
                return part
        return None
