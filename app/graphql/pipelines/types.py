"""Pipelines and their stages."""

from __future__ import annotations

import datetime as dt
import uuid

import strawberry
from strawberry import relay
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.domain.vocabulary import EXPECTED_ARTIFACTS
from app.graphql.runs.inputs import RunFilterArgument, RunOrder, RunOrderArgument
from app.graphql.shared.connections import NESTED_PAGE, NOT_GIVEN, After, Connection, First, given, window_of
from app.graphql.shared.enums import ArtifactType, RunStatus, StageStatus, StageType
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import ArtifactLink, RunLink, ScheduleLink, StageRunLink, WebhookLink
from app.graphql.shared.orders import sort_of


@strawberry.type(description="A graph of stages that can be run any number of times.")
class Pipeline(relay.Node):
    id: relay.NodeID[uuid.UUID]
    name: str = strawberry.field(description="Name of the pipeline.")
    description: str | None = strawberry.field(description="What the pipeline is for.")
    status: RunStatus = strawberry.field(description="Status of its newest run; PENDING if it has none.")
    config: JSON | None = strawberry.field(
        description="Settings that all of its stages share, as they were given."
    )
    started_at: dt.datetime | None = strawberry.field(description="When its newest run left the queue.")
    completed_at: dt.datetime | None = strawberry.field(description="When its newest run ended.")
    execution_time: float | None = strawberry.field(
        description="Seconds from the start to the end of its newest run; null until it has ended."
    )
    memory_usage: float | None = strawberry.field(
        description="`maxMemoryUsage` of its newest run, in MB of 1024 x 1024 bytes."
    )
    cpu_usage: float | None = strawberry.field(
        description="`maxCpuUsage` of its newest run, in percent of one core."
    )
    created_at: dt.datetime = strawberry.field(description="When the pipeline was created.")
    updated_at: dt.datetime = strawberry.field(
        description="When the pipeline or the status of its newest run last changed."
    )

    @strawberry.field(description="Its stages, by `order`.")
    async def stages(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.id)
        return [stage for stage in stages if stage.is_active]

    @strawberry.field(
        description="Its runs, newest first unless `orderBy` says otherwise.", metadata=reads_only()
    )
    def runs(
        self,
        info: Info,
        first: First = NESTED_PAGE,
        after: After = NOT_GIVEN,
        where: RunFilterArgument = NOT_GIVEN,
        order_by: RunOrderArgument = RunOrder.CREATED_AT_DESC,
    ) -> Connection[RunLink]:
        window = window_of(first, after, order=sort_of(order_by), default=NESTED_PAGE)
        return unawaited(info.context.loaders.runs_by_pipeline(window, given(where)).load(self.id))

    @strawberry.field(description="Its newest run; null if it has none.", metadata=reads_only())
    def latest_run(self, info: Info) -> RunLink | None:
        return unawaited(info.context.loaders.latest_run_by_pipeline.load(self.id))

    @strawberry.field(description="Its schedules, newest first.", metadata=reads_only())
    def schedules(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ScheduleLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.schedules_by_pipeline(window).load(self.id))

    @strawberry.field(description="Its webhooks, newest first.", metadata=reads_only())
    def webhooks(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[WebhookLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.webhooks_by_pipeline(window).load(self.id))


@strawberry.type(description="A step of a pipeline: a command and its dependencies.")
class Stage(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_key: strawberry.Private[uuid.UUID]
    dependency_names: strawberry.Private[list[str] | None]
    name: str = strawberry.field(description="Name of the stage, unique in its pipeline.")
    stage_type: StageType = strawberry.field(description="The kind of work the stage does.")
    custom_name: str | None = strawberry.field(description="What a stage of the type CUSTOM does.")
    status: StageStatus = strawberry.field(
        description="Status of its newest stage run; PENDING if it has none."
    )
    order: int = strawberry.field(
        description="Position of the stage in its pipeline, from 0; no two stages have the same."
    )
    config: JSON | None = strawberry.field(
        description="The command and how it is executed, as they were given."
    )
    started_at: dt.datetime | None = strawberry.field(description="When its newest stage run first started.")
    completed_at: dt.datetime | None = strawberry.field(description="When its newest stage run ended.")
    execution_time: float | None = strawberry.field(
        description="`executionTime` of its newest stage run in seconds."
    )
    output_path: str | None = strawberry.field(
        description="Path on this server of all outputs of its newest stage run; null unless that is COMPLETED."
    )
    metrics: JSON | None = strawberry.field(description="Metrics of its newest stage run, by name.")
    logs: str | None = strawberry.field(
        description="The last lines of the log of its newest stage run, at most 8 KiB."
    )
    is_active: bool = strawberry.field(
        description="False if the pipeline no longer has it and only old runs refer to it."
    )
    created_at: dt.datetime = strawberry.field(description="When the stage was created.")
    updated_at: dt.datetime = strawberry.field(
        description="When the stage or the status of its newest stage run last changed."
    )

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="Its pipeline.", metadata=reads_only())
    def pipeline(self, info: Info) -> Pipeline:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))

    @strawberry.field(
        description="The stages that must succeed before it starts. One with `allowFailure` may also fail."
    )
    async def dependencies(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.pipeline_key)
        names = self.dependency_names or ()
        return [stage for stage in stages if stage.name in names and stage.is_active]

    @strawberry.field(description="The stages that depend on it.")
    async def dependents(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.pipeline_key)
        return [stage for stage in stages if self.name in (stage.dependency_names or ()) and stage.is_active]

    @strawberry.field(
        description="The kinds of artifacts that a stage of this type normally makes.",
        metadata=reads_only("stage_type"),
    )
    def expected_artifact_types(self) -> list[ArtifactType]:
        return sorted(EXPECTED_ARTIFACTS[self.stage_type])

    @strawberry.field(description="Its stage runs, newest first.", metadata=reads_only())
    def stage_runs(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[StageRunLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.stage_runs_by_stage(window).load(self.id))

    @strawberry.field(description="Its artifacts of all runs, newest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_stage(window).load(self.id))
