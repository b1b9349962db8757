"""What became of a stage in a run."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Annotated

import strawberry
from strawberry import relay
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import OLDEST_FIRST
from app.domain.artifacts import OUTPUTS_PATH
from app.domain.explanations import Surroundings, explain_stage
from app.errors import DomainError
from app.graphql.shared.connections import NESTED_PAGE, NOT_GIVEN, After, Connection, First, given, window_of
from app.graphql.shared.enums import FinishReason, Phase, StageStatus
from app.graphql.shared.explanation import Explanation
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import ArtifactLink, RunLink, StageLink
from app.graphql.shared.scalars import BigInt
from app.graphql.shared.storability import refuse_unstorable
from app.graphql.stage_runs.attempts import StageAttempt
from app.graphql.stage_runs.ending import StageEnd
from app.graphql.stage_runs.logs import LogChunk
from app.graphql.stage_runs.series import MetricPoint, ResourceSample
from app.graphql.system.types import Worker
from app.services.logs import KnownLog, refuse_unmade

MAX_POINTS = 2000
MIN_LOG_BYTES = 4
"""What the first character may take; a smaller piece could be empty for ever."""
MAX_LOG_BYTES = 1024 * 1024

MaxPoints = Annotated[
    int,
    strawberry.argument(description=f"Thin a longer series out to this many points; at most {MAX_POINTS}."),
]
MetricName = Annotated[str | None, strawberry.argument(description="Only the metric of this name.")]
AfterOffset = Annotated[
    BigInt | None,
    strawberry.argument(description="First byte to read, 0 if left out; a negative one counts from the end."),
]
MaxBytes = Annotated[
    int,
    strawberry.argument(
        description=f"How much to read: from {MIN_LOG_BYTES} bytes, which any character fits into, to {MAX_LOG_BYTES}."
    ),
]
AttemptNumber = Annotated[
    int | None, strawberry.argument(description="Which attempt; the latest when left out.")
]


@strawberry.type(description="What became of a stage in a run.")
class StageRun(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_run_key: strawberry.Private[uuid.UUID]
    stage_key: strawberry.Private[uuid.UUID]
    worker_key: strawberry.Private[uuid.UUID | None]
    reused_from_key: strawberry.Private[uuid.UUID | None]
    depends_on: strawberry.Private[list[uuid.UUID]]
    stop_reason: strawberry.Private[FinishReason | None]
    stop_actor: strawberry.Private[str | None]
    stop_cause: strawberry.Private[str | None]
    cache_miss: strawberry.Private[JSON | None]
    name: str = strawberry.field(description="Name of the stage when the run was started.")
    position: int = strawberry.field(description="Place in the run, from 0; never before its dependencies.")
    status: StageStatus = strawberry.field(description="Where it stands.")
    phase: Phase = strawberry.field(description="Where it stands, in the finer view of the engine.")
    attempt_number: int = strawberry.field(description="Number of its latest attempt; 0 before the first.")
    started_at: dt.datetime | None = strawberry.field(description="When its process first started.")
    completed_at: dt.datetime | None = strawberry.field(description="When it ended.")
    execution_time: float | None = strawberry.field(description="Duration in seconds.")
    memory_usage: float | None = strawberry.field(description="Most memory in MB.")
    cpu_usage: float | None = strawberry.field(description="Most CPU in percent of one core.")
    output_data: JSON | None = strawberry.field(description="What the stage reported as its result.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")
    logs: str | None = strawberry.field(description="End of its log, kept with the row.")
    metrics: JSON | None = strawberry.field(description="Last value of each metric it reported, by name.")
    allow_failure: bool = strawberry.field(description="The run goes on if it fails.")
    not_before: dt.datetime | None = strawberry.field(description="The next attempt waits until then.")
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended.")
    exit_code: int | None = strawberry.field(description="Exit code of the last attempt.")
    signal: int | None = strawberry.field(description="Number of the signal which ended the last attempt.")
    stop_requested_at: dt.datetime | None = strawberry.field(description="When its end was asked for.")
    cache_hit: bool = strawberry.field(
        description="It was completed without a process: `reusedFrom` was executed with the same cache key."
    )
    lost_count: int = strawberry.field(description="How many attempts vanished with their host.")
    created_at: dt.datetime = strawberry.field(description="When the run was asked for.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(
        description="Address on this server of all its outputs as one tar archive, once it is COMPLETED.",
        metadata=reads_only("status"),
    )
    def outputs_url(self) -> str | None:
        return OUTPUTS_PATH % self.id if self.status is StageStatus.COMPLETED else None

    @strawberry.field(description="Global id of its run.", metadata=reads_only())
    def pipeline_run_id(self) -> strawberry.ID:
        return global_id("Run", self.pipeline_run_key)

    @strawberry.field(description="Global id of its stage.", metadata=reads_only())
    def stage_id(self) -> strawberry.ID:
        return global_id("Stage", self.stage_key)

    @strawberry.field(description="The run it belongs to.", metadata=reads_only())
    def run(self, info: Info) -> RunLink:
        return unawaited(info.context.loaders.run_by_id.require(self.pipeline_run_key))

    @strawberry.field(description="The stage of the pipeline, as it is now.", metadata=reads_only())
    def stage(self, info: Info) -> StageLink:
        return unawaited(info.context.loaders.stage_by_id.require(self.stage_key))

    @strawberry.field(description="The worker which looks after it, or did last.", metadata=reads_only())
    def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return unawaited(info.context.loaders.worker_by_id.load(self.worker_key))

    @strawberry.field(
        description="The stage run of an earlier run whose results it took over, by a retry or from the cache.",
        metadata=reads_only(),
    )
    def reused_from(self, info: Info) -> StageRun | None:
        if self.reused_from_key is None:
            return None
        return unawaited(info.context.loaders.stage_run_by_id.load(self.reused_from_key))

    @strawberry.field(description="The stage runs which must succeed before it.")
    async def dependencies(self, info: Info) -> list[StageRun]:
        if not self.depends_on:
            return []
        siblings = await info.context.loaders.stage_runs_by_run.load(self.pipeline_run_key)
        return [sibling for sibling in siblings if sibling.id in self.depends_on]

    @strawberry.field(description="The stage runs which wait for it.")
    async def dependents(self, info: Info) -> list[StageRun]:
        siblings = await info.context.loaders.stage_runs_by_run.load(self.pipeline_run_key)
        return [sibling for sibling in siblings if self.id in sibling.depends_on]

    @strawberry.field(description="Why it waits, was skipped, failed and so on.")
    async def explanation(self, info: Info) -> Explanation:
        loaders, run_key = info.context.loaders, self.pipeline_run_key
        siblings, run, stage_limit, capacity = await asyncio.gather(
            loaders.stage_runs_by_run.load(run_key),
            loaders.run_by_id.require(run_key),
            loaders.stage_limit_by_run.load(run_key),
            loaders.capacity.load(None),
        )
        around = Surroundings(siblings, run, stage_limit, capacity, dt.datetime.now(dt.UTC))
        return Explanation.of(explain_stage(self, around))

    @strawberry.field(description="What it made, oldest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, order=OLDEST_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_stage_run(window).load(self.id))

    @strawberry.field(description="Its attempts, oldest first.", metadata=reads_only())
    def attempts(self, info: Info) -> list[StageAttempt]:
        return unawaited(info.context.loaders.attempts_by_stage_run.load(self.id))

    @strawberry.field(description="How it ended, with everything that is known; null until then.")
    async def end(self, info: Info) -> StageEnd | None:
        return StageEnd.of_stage_run(self, await info.context.loaders.attempts_by_stage_run.load(self.id))

    @strawberry.field(
        description="Its command, environment, parameters and limits after all merging.",
        metadata=reads_only(),
    )
    def spec(self, info: Info) -> JSON | None:
        return unawaited(info.context.loaders.spec_by_stage_run.load(self.id))

    @strawberry.field(
        description="A piece of what it printed.", metadata=reads_only("attempt_number", "phase")
    )
    async def log(
        self,
        info: Info,
        after_offset: AfterOffset = NOT_GIVEN,
        max_bytes: MaxBytes = 65536,
        attempt: AttemptNumber = NOT_GIVEN,
    ) -> LogChunk:
        if not MIN_LOG_BYTES <= max_bytes <= MAX_LOG_BYTES:
            raise DomainError(f"maxBytes must be from {MIN_LOG_BYTES} to {MAX_LOG_BYTES}.", path=["maxBytes"])
        named = given(attempt)
        refuse_unmade(named, self.attempt_number)
        wanted = self.attempt_number if named is None else named
        stored = (await info.context.loaders.stored_logs_by_stage_run.load(self.id)).get(wanted)
        log = KnownLog(self.id, self.attempt_number, self.phase, wanted, stored)
        return LogChunk.of(await info.context.logs.read_known(log, given(after_offset), max_bytes))

    @strawberry.field(
        description="CPU and memory over time. A long series is thinned out to the peaks of its intervals.",
        metadata=reads_only(),
    )
    def resource_samples(self, info: Info, max_points: MaxPoints = 200) -> list[ResourceSample]:
        return unawaited(info.context.loaders.samples_by_stage_run(checked_points(max_points)).load(self.id))

    @strawberry.field(
        description="The metrics it reported, by name and step. A long series is thinned out.",
        metadata=reads_only(),
    )
    def metric_points(
        self, info: Info, name: MetricName = NOT_GIVEN, max_points: MaxPoints = 200
    ) -> list[MetricPoint]:
        refuse_unstorable(given(name), "name")
        loader = info.context.loaders.metric_points_by_stage_run(given(name), checked_points(max_points))
        return unawaited(loader.load(self.id))


def checked_points(max_points: int) -> int:
    if not 1 <= max_points <= MAX_POINTS:
        raise DomainError(f"maxPoints must be from 1 to {MAX_POINTS}.", path=["maxPoints"])
    return max_points
