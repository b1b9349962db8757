"""The state of the whole installation."""

from __future__ import annotations

import datetime as dt
import uuid

import strawberry
from strawberry import relay


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
