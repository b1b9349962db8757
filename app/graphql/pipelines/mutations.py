"""Changes of pipelines."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.pipelines.inputs import CreatePipelineInput, DeletePipelineInput, UpdatePipelineInput
from app.graphql.pipelines.types import Pipeline
from app.graphql.shared.errors import UserError
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.services import pipelines

if TYPE_CHECKING:
    from app.graphql.context import Context


@strawberry.type(description="Outcome of createPipeline.")
class CreatePipelinePayload:
    pipeline: Pipeline | None = none_of("The new pipeline")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of updatePipeline.")
class UpdatePipelinePayload:
    pipeline: Pipeline | None = none_of("The pipeline as it is now")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of deletePipeline.")
class DeletePipelinePayload:
    deleted_pipeline_id: strawberry.ID | None = none_of("Global id of the pipeline which is gone")
    errors: list[UserError] = no_errors()


async def pipeline_now(context: Context, pipeline_id: uuid.UUID) -> Pipeline | None:
    context.forget_loaded()
    return await context.loaders.pipeline_by_id.load(pipeline_id)


@strawberry.type(description="Changes of pipelines.")
class PipelineMutation:
    @strawberry.mutation(description="Register a pipeline.")
    @expected_errors
    async def create_pipeline(
        self, info: Info, request: Annotated[CreatePipelineInput, INPUT]
    ) -> CreatePipelinePayload:
        pipeline_id = await pipelines.create_pipeline(info.context.engine, storable(draft_of(request)))
        return CreatePipelinePayload(pipeline=await pipeline_now(info.context, pipeline_id))

    @strawberry.mutation(description="Change a pipeline. Runs which were started before keep what they run.")
    @expected_errors
    async def update_pipeline(
        self, info: Info, request: Annotated[UpdatePipelineInput, INPUT]
    ) -> UpdatePipelinePayload:
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        await pipelines.update_pipeline(info.context.engine, pipeline_id, storable(changes_of(request)))
        return UpdatePipelinePayload(pipeline=await pipeline_now(info.context, pipeline_id))

    @strawberry.mutation(description="Delete a pipeline.")
    @expected_errors
    async def delete_pipeline(
        self, info: Info, request: Annotated[DeletePipelineInput, INPUT]
    ) -> DeletePipelinePayload:
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        await pipelines.delete_pipeline(
            info.context.engine, info.context.notifier, pipeline_id, delete_runs=request.delete_runs
        )
        info.context.forget_loaded()
        return DeletePipelinePayload(deleted_pipeline_id=global_id("Pipeline", pipeline_id))
