"""What is known of single attempts: their outcome, their use of resources, the metrics they reported."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import strawberry

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.graphql.shared.enums import FinishReason
from app.graphql.shared.info import Info
from app.graphql.shared.scalars import BigInt
from app.graphql.stage_runs.ending import StageEnd
from app.graphql.system.types import Worker


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

    @strawberry.field(
        description="The worker which looked after it, if it is still known.", metadata=reads_only()
    )
    def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return unawaited(info.context.loaders.worker_by_id.load(self.worker_key))

    @strawberry.field(description="How it ended, with everything that is known; null until then.")
    async def end(self, info: Info) -> StageEnd | None:
        stage_run = await info.context.loaders.stage_run_by_id.require(self.stage_run_key)
        return StageEnd.of_attempt(self, stage_run)
