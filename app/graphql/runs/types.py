"""Runs of pipelines."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

import strawberry
from strawberry import relay
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import BY_NUMBER, OLDEST_FIRST, Window
from app.database.reads.streams import Row
from app.domain.explanations import explain_run
from app.domain.moves import RUN_FINAL
from app.graphql.runs.events import RunEventBatch
from app.graphql.shared.connections import (
    DEFAULT_PAGE,
    NESTED_PAGE,
    NOT_GIVEN,
    After,
    Connection,
    First,
    given,
    page_size,
    sequence_of,
    window_of,
)
from app.graphql.shared.enums import FinishReason, RunStatus, StageStatus, TriggerType
from app.graphql.shared.explanation import Explanation
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import ArtifactLink, PipelineLink, StageRunLink
from app.graphql.shared.positions import AfterBatch
from app.graphql.shared.scalars import BigInt
from app.services.streams import RowBatch, refuse_ahead


@strawberry.type(description="Number of stage runs of a run in each status.")
class StageRunCounts:
    total: int = strawberry.field(description="All stage runs.")
    pending: int = strawberry.field(description="Stage runs that are PENDING.")
    running: int = strawberry.field(description="Stage runs that are RUNNING.")
    completed: int = strawberry.field(description="Stage runs that are COMPLETED.")
    failed: int = strawberry.field(description="Stage runs that are FAILED.")
    cancelled: int = strawberry.field(description="Stage runs that are CANCELLED.")
    skipped: int = strawberry.field(description="Stage runs that are SKIPPED.")

    @classmethod
    def of(cls, counts: Mapping[StageStatus, int]) -> StageRunCounts:
        return cls(
            total=sum(counts.values()),
            **{status.name.lower(): counts.get(status, 0) for status in StageStatus},
        )


@strawberry.type(description="One execution of a pipeline.")
class Run(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_key: strawberry.Private[uuid.UUID]
    retry_of_key: strawberry.Private[uuid.UUID | None]
    status: RunStatus = strawberry.field(description="Status of the run.")
    trigger_type: TriggerType = strawberry.field(description="How the run was started.")
    triggered_by: str | None = strawberry.field(
        description="Name of the person, program or schedule that started the run; null if none was given."
    )
    started_at: dt.datetime | None = strawberry.field(
        description="When it left the queue: a worker made it RUNNING; null before."
    )
    completed_at: dt.datetime | None = strawberry.field(description="When it ended; null before.")
    execution_time: float | None = strawberry.field(
        description="Seconds from `startedAt` to `completedAt`; null until it has ended."
    )
    run_config: JSON | None = strawberry.field(
        description="Parameters and limits of this run only, as they were given."
    )
    environment: str | None = strawberry.field(description="Name of the environment the run belongs to.")
    max_memory_usage: float | None = strawberry.field(
        description="Highest memory use of a single attempt of its stages, in MB of 1024 x 1024 bytes."
    )
    max_cpu_usage: float | None = strawberry.field(
        description="Highest CPU use of a single attempt of its stages, in percent of one core."
    )
    success_count: int = strawberry.field(description="Number of its stages that are COMPLETED.")
    failed_count: int = strawberry.field(description="Number of its stages that are FAILED.")
    error_message: str | None = strawberry.field(
        description="What went wrong, for people; null if nothing did."
    )
    output_data: JSON | None = strawberry.field(
        description="The `outputData` of its stage runs, by the names of the stages; null until it has ended, and if "
        "no stage reported any. Values beyond a total of 1 MiB are null here: read them from the stage runs."
    )
    tags: list[str] | None = strawberry.field(description="Labels of the run.")
    notes: str | None = strawberry.field(description="Notes about the run, for people.")
    cancel_requested_at: dt.datetime | None = strawberry.field(
        description="When its cancel was requested; null if it never was."
    )
    cancel_reason: str | None = strawberry.field(description="Reason given for the cancel, for people.")
    cancel_actor: str | None = strawberry.field(
        description="Name of the person or program that requested the cancel; API if the request gave none."
    )
    priority: int = strawberry.field(
        description="Runs with a higher priority start first, and so do their stages: -100 to 100, from `runConfig`."
    )
    concurrency_key: str | None = strawberry.field(
        description="At most one run with the same key is RUNNING at a time; null if its pipeline has no "
        "`concurrency` setting."
    )
    queue_deadline_at: dt.datetime | None = strawberry.field(
        description="If it is still PENDING then, it fails with TIMED_OUT; null without `queueTimeout` in `runConfig`."
    )
    deadline_at: dt.datetime | None = strawberry.field(
        description="If it is still RUNNING then, it fails with TIMED_OUT; null while it is PENDING."
    )
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended; null before.")
    last_event_seq: BigInt = strawberry.field(description="Number of its newest event.")
    created_at: dt.datetime = strawberry.field(description="When it was created.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="Its pipeline.", metadata=reads_only())
    def pipeline(self, info: Info) -> PipelineLink:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))

    @strawberry.field(
        description="Its stage runs, by `position`.",
        metadata=reads_only(),
    )
    def stage_runs(self, info: Info) -> list[StageRunLink]:
        return unawaited(info.context.loaders.stage_runs_by_run.load(self.id))

    @strawberry.field(description="Number of its stage runs in each status.", metadata=reads_only())
    async def stage_run_counts(self, info: Info) -> StageRunCounts:
        return StageRunCounts.of(await info.context.loaders.stage_run_counts_by_run.load(self.id))

    @strawberry.field(description="Why it waits, is executed, or ended.")
    async def explanation(self, info: Info) -> Explanation:
        loaders = info.context.loaders
        stages, capacity, position = await asyncio.gather(
            loaders.stage_runs_by_run.load(self.id),
            loaders.capacity.load(None),
            loaders.queue_position_by_run.load(self.id),
        )
        return Explanation.of(explain_run(self, stages, capacity, position))

    @strawberry.field(description="Its position in the queue, from 1; null unless it is PENDING.")
    async def queue_position(self, info: Info) -> int | None:
        if self.status is not RunStatus.PENDING:
            return None
        return (await info.context.loaders.queue_position_by_run.load(self.id)).runs_ahead + 1

    @strawberry.field(description="The artifacts of its stage runs, oldest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, order=OLDEST_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_run(window).load(self.id))

    @strawberry.field(
        description="Its events, oldest first. The subscription `runEvents` resumes from the same cursors."
    )
    async def events(
        self, info: Info, first: First = DEFAULT_PAGE, after: AfterBatch = NOT_GIVEN
    ) -> RunEventBatch:
        seen = sequence_of(given(after))
        refuse_ahead(seen, self.last_event_seq)
        size = page_size(DEFAULT_PAGE if first is None else first, "first")
        window = Window(limit=size, order=BY_NUMBER, position=(seen,))
        rows = (await info.context.loaders.events_by_run(window).load(self.id))[:size]
        last_seq = self.last_event_seq if size > 0 else seen
        return RunEventBatch.of(self.id, batch_of(seen, rows, last_seq))

    @strawberry.field(
        description="The definition of the pipeline when the run was created.", metadata=reads_only()
    )
    def definition(self, info: Info) -> JSON | None:
        return unawaited(info.context.loaders.definition_by_run.load(self.id))

    @strawberry.field(
        description="The run that this one repeats; null if it is no retry.", metadata=reads_only()
    )
    def retry_of(self, info: Info) -> Run | None:
        if self.retry_of_key is None:
            return None
        return unawaited(info.context.loaders.run_by_id.load(self.retry_of_key))

    @strawberry.field(description="The runs that repeat this one, oldest first.", metadata=reads_only())
    def retries(self, info: Info) -> list[Run]:
        return unawaited(info.context.loaders.retries_by_run.load(self.id))

    @strawberry.field(
        description="True if it has not ended and its cancel has not been requested.",
        metadata=reads_only("status", "cancel_requested_at"),
    )
    def can_cancel(self) -> bool:
        return self.status not in RUN_FINAL and self.cancel_requested_at is None

    @strawberry.field(description="True if it has ended.", metadata=reads_only("status"))
    def can_retry(self) -> bool:
        return self.status in RUN_FINAL


def batch_of(seen: int, rows: Sequence[Row], last_seq: int) -> RowBatch:
    """The rows after number ``seen``; numbers up to ``last_seq`` that retention has removed count as missed."""
    next_seq, cursor = (rows[0].seq, rows[-1].seq) if rows else (last_seq + 1, max(seen, last_seq))
    return RowBatch(cursor, rows, (seen + 1, next_seq - 1) if next_seq > seen + 1 else None)
