"""Stores what an attempt reports while it runs: journal events and metrics become rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.reads.attempts import Attempt
from app.execution.executors.base import Executor
from app.execution.metric_reader import MetricReader
from app.execution.reports import ReportWriter
from app.notifications.notifier import Notifier
from app.notifications.topics import log_topic
from app.runner.journal import JournalEvent
from app.services.samples import Offsets, Report, Sample
from app.services.state import attempt_reports


def instant(epoch_seconds: float) -> datetime:
    """The time of a journal event."""
    return datetime.fromtimestamp(epoch_seconds, UTC)


@dataclass
class Ingest:
    """Follows one attempt. Offsets are stored with the rows, so that no report is stored twice."""

    engine: AsyncEngine
    notifier: Notifier
    executor: Executor
    reports: ReportWriter
    attempt: Attempt

    def __post_init__(self) -> None:
        self._read = Offsets(self.attempt.journal_offset, self.attempt.metrics_offset)
        self._log_bytes = 0
        self.metrics = MetricReader(partial(self.executor.metrics, self.attempt.id), self._read.metrics)
        self.has_started = self._read.journal > 0

    async def catch_up(self, *, to_the_end: bool = False) -> None:
        """Stores all reports since the last call; ``to_the_end`` takes an unfinished last line, too."""
        more = True
        while more:
            more = await self._step(to_the_end)

    async def _step(self, to_the_end: bool) -> bool:
        events, journal_offset = await self.executor.journal(self.attempt.id, self._read.journal)
        points, metrics_offset = await self.metrics.read(self._read.metrics, to_the_end=to_the_end)
        until = Offsets(journal_offset, metrics_offset)
        if until == self._read:
            return False
        await self._note_start(events)
        # If the attempt is not current any more, its report is dropped.
        await self.reports.store(Report(self.attempt.key, self._read, until, _samples(events), points))
        self._read = until
        self._announce_log(events)
        return True

    async def _note_start(self, events: list[JournalEvent]) -> None:
        for event in events:
            if event.kind == "started":
                self.has_started = True
                started = (self.attempt.key, instant(event.at), _pid(event))
                await attempt_reports.stage_started(self.engine, self.notifier, *started)

    def _announce_log(self, events: list[JournalEvent]) -> None:
        sizes = [event.data["logBytes"] for event in events if "logBytes" in event.data]
        if sizes and sizes[-1] != self._log_bytes:
            self._log_bytes = sizes[-1]
            self.notifier.publish_local(log_topic(self.attempt.stage_run_id))


def _samples(events: list[JournalEvent]) -> list[Sample]:
    found = (_sample(event) for event in events if event.kind == "sample")
    return [sample for sample in found if sample is not None]


def _sample(event: JournalEvent) -> Sample | None:
    """None for a line that the runner can't have written: the stage can write to the journal, too."""
    try:
        return Sample(
            at=instant(event.at),
            cpu_percent=_count(event.data["cpuPercent"]),
            memory_bytes=int(_count(event.data["memoryBytes"])),
            process_count=int(_count(event.data["processCount"], 2**31 - 1)),
            read_bytes=_optional_count(event.data.get("readBytes")),
            write_bytes=_optional_count(event.data.get("writeBytes")),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _pid(event: JournalEvent) -> int | None:
    pid = event.data.get("pid")
    return pid if isinstance(pid, int) else None


def _count(value: object, limit: float = 2**53) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
        raise ValueError("not a count")
    return value


def _optional_count(value: object) -> int | None:
    return None if value is None else int(_count(value))
