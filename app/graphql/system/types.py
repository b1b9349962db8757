"""Workers, and the state of the installation and of the server's host."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import strawberry
from strawberry import relay

from app.graphql.shared.scalars import BigInt

if TYPE_CHECKING:
    from app.services.system import SystemSample as SystemReading


@strawberry.type(description="A process that executes stages.")
class Worker(relay.Node):
    id: relay.NodeID[uuid.UUID]
    host_id: strawberry.ID = strawberry.field(
        description="Id of its host; it stays the same when the worker restarts."
    )
    host_name: str = strawberry.field(description="Name of that host.")
    pid: int = strawberry.field(description="Its process id on that host.")
    version: str = strawberry.field(description="Version of ml-pipeline-thing it runs.")
    slots: int = strawberry.field(description="Number of stages it may execute at the same time.")
    cpus: float = strawberry.field(description="Number of CPUs its stages may claim together.")
    memory_mb: int | None = strawberry.field(
        description="Memory its stages may claim together, in MB of 1024 x 1024 bytes; null if it is not limited."
    )
    lease_until: dt.datetime = strawberry.field(
        description="It counts as alive until then; it renews this time while it runs."
    )
    created_at: dt.datetime = strawberry.field(description="When it started.")
    updated_at: dt.datetime = strawberry.field(description="When it last renewed `leaseUntil`.")


@strawberry.type(description="A worker and its present load.")
class WorkerStatus:
    worker: Worker = strawberry.field(description="The worker.")
    alive: bool = strawberry.field(description="True if its `leaseUntil` has not passed.")
    active_stage_runs: int = strawberry.field(description="Number of stage runs it executes now.")


@strawberry.type(description="The state of the installation: this server and all workers.")
class SystemStatus:
    version: str = strawberry.field(description="Version of the server that answers.")
    pending_runs: int = strawberry.field(description="Number of runs that are PENDING.")
    running_runs: int = strawberry.field(description="Number of runs that are RUNNING.")
    workers: list[WorkerStatus] = strawberry.field(
        description="All known workers, by `leaseUntil`, latest first."
    )


@strawberry.type(description="CPU and memory of the server's host at one moment.")
class SystemSample:
    at: dt.datetime = strawberry.field(description="When the sample was taken.")
    cpu_percent: float = strawberry.field(description="CPU use of the whole host in percent, 0 to 100.")
    memory_used_bytes: BigInt = strawberry.field(
        description="Memory that is not available to new processes, in bytes."
    )
    memory_total_bytes: BigInt = strawberry.field(description="Memory of the host in bytes.")
    load_average: float | None = strawberry.field(
        description="Load average of the last minute; null where the system has none."
    )
    server_rss_bytes: BigInt = strawberry.field(description="Resident memory of the server process in bytes.")

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
