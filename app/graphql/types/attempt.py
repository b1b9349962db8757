"""What is known of single attempts: their outcome, their use of resources, the metrics they reported."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import strawberry

from app.graphql.batching import later
from app.graphql.enums import FinishReason
from app.graphql.executor.reading import reads
from app.graphql.ids import global_id
from app.graphql.info import Info
from app.graphql.scalars import BigInt, MetricValue
from app.graphql.types.ending import StageEnd
from app.graphql.types.system import Worker

_BYTES_PER_MB = 1024 * 1024


@strawberry.type(description="One try to execute a stage.")
class StageAttempt:
    stage_run_key: strawberry.Private[uuid.UUID]
    worker_key: strawberry.Private[uuid.UUID | None]
    wall_seconds: strawberry.Private[float | None]
    evidence: strawberry.Private[dict[str, Any] | None]
    attempt: int = strawberry.field(description="Number of the attempt, from 1.")
    host_id: strawberry.ID = strawberry.field(description="The host which executed it.")
    executor: str = strawberry.field(description="What executed it: LOCAL, which is processes of its host.")
    claimed_at: dt.datetime = strawberry.field(description="When a worker took it.")
    started_at: dt.datetime | None = strawberry.field(description="When its process started.")
    finished_at: dt.datetime | None = strawberry.field(description="When its process ended.")
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended.")
    exit_code: int | None = strawberry.field(description="Exit code of its process.")
    signal: int | None = strawberry.field(description="Number of the signal which ended its process.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")
    peak_memory_bytes: BigInt | None = strawberry.field(description="Most memory of its process tree.")
    peak_cpu_percent: float | None = strawberry.field(description="Most CPU in percent of one core.")
    cpu_seconds: float | None = strawberry.field(description="CPU time of its process tree.")
    log_bytes: BigInt | None = strawberry.field(description="Size of its log.")
    log_dropped_bytes: BigInt | None = strawberry.field(
        description="Output beyond the limit, which was dropped."
    )

    @strawberry.field(description="The worker which looked after it, if it is still known.", metadata=reads())
    def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return later(info.context.loaders.worker_by_id.load(self.worker_key))

    @strawberry.field(description="How it ended, with everything that is known; null until then.")
    async def end(self, info: Info) -> StageEnd | None:
        stage_run = await info.context.loaders.stage_run_by_id.require(self.stage_run_key)
        return StageEnd.of_attempt(self, stage_run)


@strawberry.type(description="What the processes of a stage used at one moment.")
class ResourceSample:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="The attempt which was measured.")
    at: dt.datetime = strawberry.field(description="When it was measured.")
    cpu_percent: float = strawberry.field(description="CPU in percent of one core.")
    memory_bytes: BigInt = strawberry.field(description="Memory in bytes.")
    process_count: int = strawberry.field(description="Number of processes.")
    read_bytes: BigInt | None = strawberry.field(description="Bytes read from storage so far.")
    write_bytes: BigInt | None = strawberry.field(description="Bytes written to storage so far.")

    @strawberry.field(description="Global id of the stage run.", metadata=reads())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="Memory in MB.", metadata=reads("memory_bytes"))
    def memory_mb(self) -> float:
        return self.memory_bytes / _BYTES_PER_MB


@strawberry.type(description="A value which a stage reported for a metric.")
class MetricPoint:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="The attempt which reported it.")
    name: str = strawberry.field(description="Name of the metric.")
    step: BigInt = strawberry.field(description="Step of the computation, as the stage counts them.")
    value: MetricValue = strawberry.field(description="The value.")
    at: dt.datetime = strawberry.field(description="When it was recorded.")

    @strawberry.field(description="Global id of the stage run.", metadata=reads())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)
