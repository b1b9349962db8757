"""Attempts of stage runs: how they ended and what they used."""

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


@strawberry.type(description="One attempt to execute a stage.")
class StageAttempt:
    stage_run_key: strawberry.Private[uuid.UUID]
    worker_key: strawberry.Private[uuid.UUID | None]
    wall_seconds: strawberry.Private[float | None]
    evidence: strawberry.Private[dict[str, Any] | None]
    attempt: int = strawberry.field(description="Number of the attempt, from 1.")
    host_id: strawberry.ID = strawberry.field(description="Id of the host that executed it.")
    executor: str = strawberry.field(description="How it was executed; LOCAL means as processes of the host.")
    claimed_at: dt.datetime = strawberry.field(description="When a worker claimed it.")
    started_at: dt.datetime | None = strawberry.field(description="When its process started; null before.")
    finished_at: dt.datetime | None = strawberry.field(description="When it ended; null before.")
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended; null before.")
    exit_code: int | None = strawberry.field(
        description="Exit code of the command; null if it did not exit by itself."
    )
    signal: int | None = strawberry.field(
        description="Number of the signal that ended the command; null if none did."
    )
    error_message: str | None = strawberry.field(description="What went wrong, for people.")
    peak_memory_bytes: BigInt | None = strawberry.field(
        description="Highest memory use of its process tree in bytes."
    )
    peak_cpu_percent: float | None = strawberry.field(
        description="Highest CPU use of its process tree in percent of one core."
    )
    cpu_seconds: float | None = strawberry.field(description="CPU time of its process tree in seconds.")
    log_bytes: BigInt | None = strawberry.field(description="Size of its log in bytes.")
    log_dropped_bytes: BigInt | None = strawberry.field(
        description="Bytes of output beyond the size limit of logs; they were dropped."
    )

    @strawberry.field(
        description="The worker that executed it; null if it is no longer known.", metadata=reads_only()
    )
    def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return unawaited(info.context.loaders.worker_by_id.load(self.worker_key))

    @strawberry.field(description="How it ended, with all that is known; null until it has ended.")
    async def end(self, info: Info) -> StageEnd | None:
        stage_run = await info.context.loaders.stage_run_by_id.require(self.stage_run_key)
        return StageEnd.of_attempt(self, stage_run)
