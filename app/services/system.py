"""CPU and memory of the host, read once per second for all subscribers."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class SystemSample:
    """The host at one moment; ``cpu_percent`` is of the whole machine (0 to 100)."""

    at: dt.datetime
    cpu_percent: float
    memory_used_bytes: int
    memory_total_bytes: int
    load_average: float | None
    server_rss_bytes: int

    @property
    def cursor(self) -> dt.datetime:
        """Identifies the sample."""
        return self.at


class SystemSampler:
    """Gives all subscribers of a second the same sample, so that a hundred of them cost one reading."""

    def __init__(self, *, interval_seconds: float = 1.0) -> None:
        self._interval_seconds = interval_seconds
        self._server = psutil.Process()
        self._tick = -1
        self._latest: SystemSample | None = None
        psutil.cpu_percent()

    async def samples(self) -> AsyncGenerator[SystemSample, None]:
        """One sample now, then one per tick, for as long as the caller iterates."""
        while True:
            yield self.current()
            await asyncio.sleep(self._interval_seconds - time.monotonic() % self._interval_seconds)

    def current(self) -> SystemSample:
        """The sample of this tick, read on first demand."""
        tick = int(time.monotonic() / self._interval_seconds)
        if self._latest is None or tick != self._tick:
            self._tick = tick
            self._latest = self._read()
        return self._latest

    def _read(self) -> SystemSample:
        memory = psutil.virtual_memory()
        return SystemSample(
            at=dt.datetime.now(dt.UTC),
            cpu_percent=psutil.cpu_percent(),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            server_rss_bytes=self._server.memory_info().rss,
        )
