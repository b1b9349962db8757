"""What subscriptions deliver: batches of run events, resource samples, log chunks and host samples."""

from __future__ import annotations

import datetime as dt

import strawberry

from app.services.system import SystemSample as SystemReading


@strawberry.type(description="CPU and memory of the server's host at one moment.")
class SystemSample:
    at: dt.datetime = strawberry.field(description="When the sample was taken.")
    cpu_percent: float = strawberry.field(description="CPU use of the whole host, 0 to 100.")
    memory_used_bytes: float = strawberry.field(description="Memory which is not available to new processes.")
    memory_total_bytes: float = strawberry.field(description="Memory of the host.")
    load_average: float | None = strawberry.field(description="Load average of the last minute, where known.")
    server_rss_bytes: float = strawberry.field(description="Resident memory of the server process itself.")

    @classmethod
    def of(cls, reading: SystemReading) -> SystemSample:
        return cls(
            at=reading.at,
            cpu_percent=reading.cpu_percent,
            memory_used_bytes=reading.memory_used_bytes,
            memory_total_bytes=reading.memory_total_bytes,
            load_average=reading.load_average,
            server_rss_bytes=reading.server_rss_bytes,
        )
