"""Stores the reports of all attempts of a worker in batches: a hundred reports take a few transactions."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.outages import is_outage
from app.notifications.notifier import Notifier
from app.services.samples import Report, store_reports

ROWS_PER_TRANSACTION = 20_000


@dataclass(frozen=True)
class _Waiting:
    report: Report
    stored: asyncio.Future[None] = field(default_factory=asyncio.Future)

    def succeed(self) -> None:
        if not self.stored.done():  # the caller was cancelled
            self.stored.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.stored.done():
            self.stored.set_exception(error)


class ReportWriter:
    """Writes a report at once; those that arrive meanwhile form the next batch. Belongs to one event loop."""

    def __init__(self, engine: AsyncEngine, notifier: Notifier) -> None:
        self._engine = engine
        self._notifier = notifier
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def store(self, report: Report) -> None:
        """Returns when the report is stored, or dropped because its attempt is not current any more.

        An attempt stores one report at a time.
        """
        waiting = _Waiting(report)
        self._waiting.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(
                # Not in the context of the caller: the log ids of one attempt are wrong for the others.
                self._write(),
                name="store reports",
                context=contextvars.Context(),
            )
        await waiting.stored

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_together(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> list[_Waiting]:
        """At least one report, and no more rows than a transaction should hold."""
        rows = size = 0
        for waiting in self._waiting:
            rows += waiting.report.row_count
            if size and rows > ROWS_PER_TRANSACTION:
                break
            size += 1
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return batch

    async def _write_together(self, batch: list[_Waiting]) -> None:
        try:
            await store_reports(self._engine, self._notifier, [waiting.report for waiting in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].fail(error)
            elif is_outage(error):
                for waiting in batch:
                    waiting.fail(_outage_because_of(error))
            else:
                for waiting in batch:  # find the report that can't be stored, and store the others
                    await self._write_together([waiting])
        else:
            for waiting in batch:
                waiting.succeed()


def _outage_because_of(error: Exception) -> Exception:
    """A new exception for each waiting report: one that is raised in many tasks collects all their tracebacks."""
    outage = ConnectionError("reports could not be stored")
    outage.__cause__ = error
    return outage
