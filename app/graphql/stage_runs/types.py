"""Stage runs: the executions of stages in runs."""

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
from app.database.reads.lineage import Start
from app.database.reads.pages import OLDEST_FIRST
from app.domain.artifacts import OUTPUTS_PATH
from app.domain.explanations import Surroundings, explain_stage
from app.errors import DomainError
from app.graphql.lineage.types import Lineage, lineage_field
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
from app.services.logs import KnownLog, refuse_unknown_attempt

MAX_POINTS = 2000
MIN_LOG_BYTES = 4
"""The most bytes of one character; a smaller piece could stay empty forever."""
MAX_LOG_BYTES = 1024 * 1024

MaxPoints = Annotated[
    int,
    strawberry.argument(
        description=f"A longer series is thinned to about this many points; from 1 to {MAX_POINTS}."
    ),
]
MetricName = Annotated[str | None, strawberry.argument(description="Only the metric with this name.")]
AfterOffset = Annotated[
    BigInt | None,
    strawberry.argument(
        description="Offset of the first byte to read, 0 when left out; a negative one counts from the present end."
    ),
]
MaxBytes = Annotated[
    int,
    strawberry.argument(description=f"Number of bytes to read at most: {MIN_LOG_BYTES} to {MAX_LOG_BYTES}."),
]
AttemptNumber = Annotated[
    int | None, strawberry.argument(description="Number of the attempt; the latest when left out.")
]


@strawberry.type(description="The execution of a stage in a run, with all of its attempts.")
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
    name: str = strawberry.field(description="Name of the stage when the run was created.")
    position: int = strawberry.field(description="Position in the run, from 0: by the `order` of the stages.")
    status: StageStatus = strawberry.field(description="Status of the stage run.")
    phase: Phase = strawberry.field(description="What happens to it, in finer steps than `status`.")
    attempt_number: int = strawberry.field(description="Number of its latest attempt; 0 before the first.")
    started_at: dt.datetime | None = strawberry.field(
        description="When the process of its first attempt started; null before."
    )
    completed_at: dt.datetime | None = strawberry.field(description="When it ended; null before.")
    execution_time: float | None = strawberry.field(
        description="Seconds from the start of its last attempt to the end of its last process; null until it "
        "has ended."
    )
    memory_usage: float | None = strawberry.field(
        description="Highest memory use of its last attempt, in MB of 1024 x 1024 bytes; null until it has ended."
    )
    cpu_usage: float | None = strawberry.field(
        description="Average CPU use of its last attempt in percent of one core; null until it has ended."
    )
    output_data: JSON | None = strawberry.field(
        description="The result that the stage reported, as JSON; null unless it is COMPLETED."
    )
    error_message: str | None = strawberry.field(
        description="What went wrong in its last attempt, for people; null if nothing did."
    )
    logs: str | None = strawberry.field(
        description="The last lines of the log of its last attempt, at most 8 KiB; null until it has ended."
    )
    metrics: JSON | None = strawberry.field(
        description="Last value of each metric it reported, by name; null unless it is COMPLETED."
    )
    allow_failure: bool = strawberry.field(
        description="If true, the run continues and may succeed when it fails."
    )
    not_before: dt.datetime | None = strawberry.field(
        description="The next attempt starts no earlier; null unless it waits for a retry."
    )
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended; null before.")
    exit_code: int | None = strawberry.field(
        description="Exit code of the command in its last attempt; null if it did not exit by itself."
    )
    signal: int | None = strawberry.field(
        description="Number of the signal that ended its last attempt; null if none did."
    )
    stop_requested_at: dt.datetime | None = strawberry.field(
        description="When it was asked to stop; null if it was not."
    )
    cache_hit: bool = strawberry.field(
        description="True if it was completed without a process, because `reusedFrom` has the same cache key."
    )
    lost_count: int = strawberry.field(
        description="Number of its attempts that were lost and repeated: their host or the process that watches them "
        "vanished."
    )
    created_at: dt.datetime = strawberry.field(description="When the run was created.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(
        description="Path on this server of all of its outputs as one tar archive; null unless it is COMPLETED.",
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

    @strawberry.field(
        description="The worker that executes it, or did last; null before the first attempt and while it waits "
        "for a retry.",
        metadata=reads_only(),
    )
    def worker(self, info: Info) -> Worker | None:
        if self.worker_key is None:
            return None
        return unawaited(info.context.loaders.worker_by_id.load(self.worker_key))

    @strawberry.field(
        description="The stage run of an earlier run whose results it reuses, by a retry or from the cache; "
        "null if there is none.",
        metadata=reads_only(),
    )
    def reused_from(self, info: Info) -> StageRun | None:
        if self.reused_from_key is None:
            return None
        return unawaited(info.context.loaders.stage_run_by_id.load(self.reused_from_key))

    @strawberry.field(
        description="The stage runs that must succeed before it starts. One with `allowFailure` may also fail."
    )
    async def dependencies(self, info: Info) -> list[StageRun]:
        if not self.depends_on:
            return []
        siblings = await info.context.loaders.stage_runs_by_run.load(self.pipeline_run_key)
        return [sibling for sibling in siblings if sibling.id in self.depends_on]

    @strawberry.field(description="The stage runs that depend on it.")
    async def dependents(self, info: Info) -> list[StageRun]:
        siblings = await info.context.loaders.stage_runs_by_run.load(self.pipeline_run_key)
        return [sibling for sibling in siblings if self.id in sibling.depends_on]

    @strawberry.field(description="Why it waits, is executed, or ended.")
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

    @strawberry.field(description="Its artifacts, oldest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, order=OLDEST_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_stage_run(window).load(self.id))

    @strawberry.field(description="Its attempts, oldest first.", metadata=reads_only())
    def attempts(self, info: Info) -> list[StageAttempt]:
        return unawaited(info.context.loaders.attempts_by_stage_run.load(self.id))

    @strawberry.field(description="How it ended, with all that is known; null until it has ended.")
    async def end(self, info: Info) -> StageEnd | None:
        return StageEnd.of_stage_run(self, await info.context.loaders.attempts_by_stage_run.load(self.id))

    @strawberry.field(
        description="Its command, environment, parameters and limits, merged from the pipeline, the stage and the run.",
        metadata=reads_only(),
    )
    def spec(self, info: Info) -> JSON | None:
        return unawaited(info.context.loaders.spec_by_stage_run.load(self.id))

    @strawberry.field(
        description="A piece of its log: standard output and error of the command.",
        metadata=reads_only("attempt_number", "phase"),
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
        refuse_unknown_attempt(named, self.attempt_number)
        wanted = self.attempt_number if named is None else named
        stored = (await info.context.loaders.stored_logs_by_stage_run.load(self.id)).get(wanted)
        log = KnownLog(self.id, self.attempt_number, self.phase, wanted, stored)
        return LogChunk.of(await info.context.logs.read_known(log, given(after_offset), max_bytes))

    @strawberry.field(
        description="CPU and memory use over time. A long series is thinned: each point has the highest values "
        "of its interval.",
        metadata=reads_only(),
    )
    def resource_samples(self, info: Info, max_points: MaxPoints = 200) -> list[ResourceSample]:
        return unawaited(info.context.loaders.samples_by_stage_run(checked_points(max_points)).load(self.id))

    @strawberry.field(
        description="The metrics it reported, by name and step. A long series is thinned: the last point of "
        "each interval stays.",
        metadata=reads_only(),
    )
    def metric_points(
        self, info: Info, name: MetricName = NOT_GIVEN, max_points: MaxPoints = 200
    ) -> list[MetricPoint]:
        refuse_unstorable(given(name), "name")
        loader = info.context.loaders.metric_points_by_stage_run(given(name), checked_points(max_points))
        return unawaited(loader.load(self.id))

    lineage: Lineage = lineage_field(
        "What the stage run read and what was made of its outputs.", Start.STAGE_RUN, "id"
    )


def checked_points(max_points: int) -> int:
    if not 1 <= max_points <= MAX_POINTS:
        raise DomainError(f"maxPoints must be from 1 to {MAX_POINTS}.", path=["maxPoints"])
    return max_points
