"""The state of the whole installation."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import strawberry
from strawberry import relay

from app.graphql.shared.scalars import BigInt

if TYPE_CHECKING:
    from app.services.system import SystemSample as SystemReading


@strawberry.type(description="A process which executes stages.")
class Worker(relay.Node):
    id: relay.NodeID[uuid.UUID]
    host_id: strawberry.ID = strawberry.field(description="The host it runs on; the same after a restart.")
    host_name: str = strawberry.field(description="Name of that host.")
    pid: int = strawberry.field(description="Its process id on that host.")
    version: str = strawberry.field(description="Version of its software.")
    slots: int = strawberry.field(description="How many stages it may execute at once.")
    cpus: float = strawberry.field(description="CPUs which its stages may claim together.")
    memory_mb: int | None = strawberry.field(
        description="Memory in MB which its stages may claim together; null: not limited."
    )
    lease_until: dt.datetime = strawberry.field(
        description="Until when it counts as alive without a new sign."
    )
    created_at: dt.datetime = strawberry.field(description="When it started.")
    updated_at: dt.datetime = strawberry.field(description="When it last gave a sign.")


@strawberry.type(description="A worker and what it does now.")
class WorkerStatus:
    worker: Worker = strawberry.field(description="The worker.")
    alive: bool = strawberry.field(description="It gave a sign within its lease.")
    active_stage_runs: int = strawberry.field(description="How many stage runs it looks after.")


@strawberry.type(description="The state of the whole installation.")
class SystemStatus:
    version: str = strawberry.field(description="Version of the server which answers.")
    pending_runs: int = strawberry.field(description="Runs which wait to be started.")
    running_runs: int = strawberry.field(description="Runs which are at work.")
    workers: list[WorkerStatus] = strawberry.field(description="All known workers, the liveliest first.")


@strawberry.type(description="CPU and memory of the server's host at one moment.")
class SystemSample:
    at: dt.datetime = strawberry.field(description="When the sample was taken.")
    cpu_percent: float = strawberry.field(description="CPU use of the whole host, 0 to 100.")
    memory_used_bytes: BigInt = strawberry.field(
        description="Memory which is not available to new processes."
    )
    memory_total_bytes: BigInt = strawberry.field(description="Memory of the host.")
    load_average: float | None = strawberry.field(description="Load average of the last minute, where known.")
    server_rss_bytes: BigInt = strawberry.field(description="Resident memory of the server process itself.")

    @classmethod
    def of(cls, reading: SystemReading) -> SystemSample:
        return cls(
            at=reading.at,
            cpu_percent=reading.cpu_percent,
            memory_used_bytes=BigInt(reading.memory_used_bytes),
            memory_total_bytes=BigInt(reading.memory_total_bytes),
            load_average=reading.load_average,
            server_rss_bytes=BigInt(reading.server_rss_bytes),
        )
