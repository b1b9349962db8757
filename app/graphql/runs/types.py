"""Runs of pipelines."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

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
from app.graphql.shared.scalars import BigInt
from app.services.streams import RowBatch, refuse_ahead

AfterEvent = Annotated[
    str | None,
    strawberry.argument(description="Cursor of the last batch received; the beginning when left out."),
]


@strawberry.type(description="How many stage runs of a run have each status.")
class StageRunCounts:
    total: int = strawberry.field(description="All of them.")
    pending: int = strawberry.field(description="Waiting.")
    running: int = strawberry.field(description="At work.")
    completed: int = strawberry.field(description="Succeeded.")
    failed: int = strawberry.field(description="Failed.")
    cancelled: int = strawberry.field(description="Cancelled.")
    skipped: int = strawberry.field(description="Never started, for something before them failed.")

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
    status: RunStatus = strawberry.field(description="Where the run stands.")
    trigger_type: TriggerType = strawberry.field(description="What started the run.")
    triggered_by: str | None = strawberry.field(description="Who or what asked for the run.")
    started_at: dt.datetime | None = strawberry.field(description="When its first stage started.")
    completed_at: dt.datetime | None = strawberry.field(description="When it ended.")
    execution_time: float | None = strawberry.field(description="Duration in seconds.")
    run_config: JSON | None = strawberry.field(
        description="Parameters and limits which hold for this run only."
    )
    environment: str | None = strawberry.field(description="Name of where the run belongs.")
    max_memory_usage: float | None = strawberry.field(description="Most memory of any of its stages in MB.")
    max_cpu_usage: float | None = strawberry.field(
        description="Most CPU of any of its stages in percent of one core."
    )
    success_count: int = strawberry.field(description="How many stages succeeded.")
    failed_count: int = strawberry.field(description="How many stages failed.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")
    output_data: JSON | None = strawberry.field(
        description="What its stages reported, by the name of the stage."
    )
    tags: list[str] | None = strawberry.field(description="Labels to find the run by.")
    notes: str | None = strawberry.field(description="Anything worth remembering about the run.")
    cancel_requested_at: dt.datetime | None = strawberry.field(
        description="When somebody asked to cancel it."
    )
    cancel_reason: str | None = strawberry.field(description="Why it was to be cancelled.")
    cancel_actor: str | None = strawberry.field(
        description="Who asked to cancel it; API if the request did not say."
    )
    priority: int = strawberry.field(
        description="Runs of a higher one start first, and so do their stages: -100 to 100, from runConfig."
    )
    concurrency_key: str | None = strawberry.field(
        description="Of the runs with the same key one is RUNNING at a time; null: nothing of the kind."
    )
    queue_deadline_at: dt.datetime | None = strawberry.field(
        description="If it still waits then, it fails as TIMED_OUT: from queueTimeout of runConfig."
    )
    deadline_at: dt.datetime | None = strawberry.field(description="When its time limit is reached.")
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended the way it did.")
    last_event_seq: BigInt = strawberry.field(description="Number of its newest event.")
    created_at: dt.datetime = strawberry.field(description="When it was asked for.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="Its pipeline.", metadata=reads_only())
    def pipeline(self, info: Info) -> PipelineLink:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))

    @strawberry.field(
        description="Its stages, in the order of the pipeline when the run was started.",
        metadata=reads_only(),
    )
    def stage_runs(self, info: Info) -> list[StageRunLink]:
        return unawaited(info.context.loaders.stage_runs_by_run.load(self.id))

    @strawberry.field(description="How many of its stage runs have each status.", metadata=reads_only())
    async def stage_run_counts(self, info: Info) -> StageRunCounts:
        return StageRunCounts.of(await info.context.loaders.stage_run_counts_by_run.load(self.id))

    @strawberry.field(description="Why it waits, what it does, or why it ended.")
    async def explanation(self, info: Info) -> Explanation:
        loaders = info.context.loaders
        stages, capacity, position = await asyncio.gather(
            loaders.stage_runs_by_run.load(self.id),
            loaders.capacity.load(None),
            loaders.queue_position_by_run.load(self.id),
        )
        return Explanation.of(explain_run(self, stages, capacity, position))

    @strawberry.field(description="Its place in the queue, from 1; null unless it is PENDING.")
    async def queue_position(self, info: Info) -> int | None:
        if self.status is not RunStatus.PENDING:
            return None
        return (await info.context.loaders.queue_position_by_run.load(self.id)).runs_ahead + 1

    @strawberry.field(description="Everything its stages made, oldest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, order=OLDEST_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_run(window).load(self.id))

    @strawberry.field(
        description="What happened to it, oldest first. The subscription runEvents goes on from the same cursor."
    )
    async def events(
        self, info: Info, first: First = DEFAULT_PAGE, after: AfterEvent = NOT_GIVEN
    ) -> RunEventBatch:
        seen = sequence_of(given(after))
        refuse_ahead(seen, self.last_event_seq)
        size = page_size(DEFAULT_PAGE if first is None else first, "first")
        window = Window(limit=size, order=BY_NUMBER, position=(seen,))
        rows = (await info.context.loaders.events_by_run(window).load(self.id))[:size]
        last_seq = self.last_event_seq if size > 0 else seen
        return RunEventBatch.of(self.id, batch_of(seen, rows, last_seq))

    @strawberry.field(description="The pipeline as it was when the run was started.", metadata=reads_only())
    def definition(self, info: Info) -> JSON | None:
        return unawaited(info.context.loaders.definition_by_run.load(self.id))

    @strawberry.field(description="The run which this one does again.", metadata=reads_only())
    def retry_of(self, info: Info) -> Run | None:
        if self.retry_of_key is None:
            return None
        return unawaited(info.context.loaders.run_by_id.load(self.retry_of_key))

    @strawberry.field(description="The runs which do this one again.", metadata=reads_only())
    def retries(self, info: Info) -> list[Run]:
        return unawaited(info.context.loaders.retries_by_run.load(self.id))

    @strawberry.field(
        description="True if cancelRun would have an effect.",
        metadata=reads_only("status", "cancel_requested_at"),
    )
    def can_cancel(self) -> bool:
        return self.status not in RUN_FINAL and self.cancel_requested_at is None

    @strawberry.field(description="True if retryRun may be called.", metadata=reads_only("status"))
    def can_retry(self) -> bool:
        return self.status in RUN_FINAL


def batch_of(seen: int, rows: Sequence[Row], last_seq: int) -> RowBatch:
    """The rows after number ``seen``; numbers up to ``last_seq`` which retention has removed count as missed."""
    next_seq, cursor = (rows[0].seq, rows[-1].seq) if rows else (last_seq + 1, max(seen, last_seq))
    return RowBatch(cursor, rows, (seen + 1, next_seq - 1) if next_seq > seen + 1 else None)
