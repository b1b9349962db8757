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


@strawberry.type(description="A graph of stages which can be run again and again.")
class Pipeline(relay.Node):
    id: relay.NodeID[uuid.UUID]
    name: str = strawberry.field(description="Name of the pipeline.")
    description: str | None = strawberry.field(description="What the pipeline is for.")
    status: RunStatus = strawberry.field(description="Status of its latest run; PENDING before the first.")
    config: JSON | None = strawberry.field(description="Settings all its stages share, as they were given.")
    started_at: dt.datetime | None = strawberry.field(description="When its latest run started.")
    completed_at: dt.datetime | None = strawberry.field(description="When its latest run ended.")
    execution_time: float | None = strawberry.field(description="Duration of its latest run in seconds.")
    memory_usage: float | None = strawberry.field(description="Most memory of its latest run in MB.")
    cpu_usage: float | None = strawberry.field(
        description="Most CPU of its latest run in percent of one core."
    )
    created_at: dt.datetime = strawberry.field(description="When the pipeline was created.")
    updated_at: dt.datetime = strawberry.field(description="When the pipeline or its latest outcome changed.")

    @strawberry.field(description="Its stages in their order.")
    async def stages(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.id)
        return [stage for stage in stages if stage.is_active]

    @strawberry.field(description="Its runs.", metadata=reads_only())
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

    @strawberry.field(description="Its newest run.", metadata=reads_only())
    def latest_run(self, info: Info) -> RunLink | None:
        return unawaited(info.context.loaders.latest_run_by_pipeline.load(self.id))

    @strawberry.field(description="What starts it at set times, newest first.", metadata=reads_only())
    def schedules(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ScheduleLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.schedules_by_pipeline(window).load(self.id))

    @strawberry.field(
        description="Addresses which other systems call to start it, newest first.", metadata=reads_only()
    )
    def webhooks(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[WebhookLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.webhooks_by_pipeline(window).load(self.id))


@strawberry.type(description="A step of a pipeline: a command, and what it depends on.")
class Stage(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_key: strawberry.Private[uuid.UUID]
    dependency_names: strawberry.Private[list[str] | None]
    name: str = strawberry.field(description="Name of the stage, unique in its pipeline.")
    stage_type: StageType = strawberry.field(description="What the stage does.")
    custom_name: str | None = strawberry.field(description="What a CUSTOM stage does.")
    status: StageStatus = strawberry.field(
        description="Status of its latest stage run; PENDING before the first."
    )
    order: int = strawberry.field(description="Place of the stage in its pipeline.")
    config: JSON | None = strawberry.field(description="The command and how it is executed, as given.")
    started_at: dt.datetime | None = strawberry.field(description="When it last started.")
    completed_at: dt.datetime | None = strawberry.field(description="When it last ended.")
    execution_time: float | None = strawberry.field(
        description="Duration of its latest stage run in seconds."
    )
    output_path: str | None = strawberry.field(
        description="Address on this server of all outputs of its latest stage run, if that is COMPLETED."
    )
    metrics: JSON | None = strawberry.field(
        description="Name and value of each metric of its latest stage run."
    )
    logs: str | None = strawberry.field(description="End of the log of its latest stage run.")
    is_active: bool = strawberry.field(description="False if it was removed and only old runs refer to it.")
    created_at: dt.datetime = strawberry.field(description="When the stage was created.")
    updated_at: dt.datetime = strawberry.field(description="When the stage or its latest outcome changed.")

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="Its pipeline.", metadata=reads_only())
    def pipeline(self, info: Info) -> Pipeline:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))

    @strawberry.field(description="The stages which must succeed before it.")
    async def dependencies(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.pipeline_key)
        names = self.dependency_names or ()
        return [stage for stage in stages if stage.name in names and stage.is_active]

    @strawberry.field(description="The stages which wait for it.")
    async def dependents(self, info: Info) -> list[Stage]:
        stages = await info.context.loaders.stages_by_pipeline.load(self.pipeline_key)
        return [stage for stage in stages if self.name in (stage.dependency_names or ()) and stage.is_active]

    @strawberry.field(
        description="The kinds of artifact a stage of this type normally makes.",
        metadata=reads_only("stage_type"),
    )
    def expected_artifact_types(self) -> list[ArtifactType]:
        return sorted(EXPECTED_ARTIFACTS[self.stage_type])

    @strawberry.field(description="How it went in each run, newest first.", metadata=reads_only())
    def stage_runs(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[StageRunLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.stage_runs_by_stage(window).load(self.id))

    @strawberry.field(description="What it made in all runs, newest first.", metadata=reads_only())
    def artifacts(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ArtifactLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_stage(window).load(self.id))
