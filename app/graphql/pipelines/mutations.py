"""Mutations that create, change and delete pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.pipelines.inputs import CreatePipelineInput, DeletePipelineInput, UpdatePipelineInput
from app.graphql.pipelines.types import Pipeline
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.services import pipelines

if TYPE_CHECKING:
    pass


@strawberry.type(description="Outcome of createPipeline.")
class CreatePipelinePayload(Payload):
    pipeline: Pipeline | None = null_on_error("The new pipeline")


@strawberry.type(description="Outcome of updatePipeline.")
class UpdatePipelinePayload(Payload):
    pipeline: Pipeline | None = null_on_error("The pipeline after the change")


@strawberry.type(description="Outcome of deletePipeline.")
class DeletePipelinePayload(Payload):
    deleted_pipeline_id: strawberry.ID | None = null_on_error("Global id of the deleted pipeline")


@strawberry.type(description="Changes of pipelines.")
class PipelineMutation:
    @mutation("Create a pipeline.")
    async def create_pipeline(
        self, info: Info, request: Annotated[CreatePipelineInput, INPUT]
    ) -> CreatePipelinePayload:
        pipeline_id = await pipelines.create_pipeline(info.context.engine, storable(draft_of(request)))
        return CreatePipelinePayload(
            pipeline=await info.context.fresh_loaders().pipeline_by_id.load(pipeline_id)
        )

    @mutation("Change a pipeline. Existing runs keep the definition they started with.")
    async def update_pipeline(
        self, info: Info, request: Annotated[UpdatePipelineInput, INPUT]
    ) -> UpdatePipelinePayload:
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        await pipelines.update_pipeline(info.context.engine, pipeline_id, storable(changes_of(request)))
        return UpdatePipelinePayload(
            pipeline=await info.context.fresh_loaders().pipeline_by_id.load(pipeline_id)
        )

    @mutation(
        "Delete a pipeline with its schedules and webhooks. It must have no active runs. It can't be deleted "
        "while a model of one of its runs is a version of a registered model."
    )
    async def delete_pipeline(
        self, info: Info, request: Annotated[DeletePipelineInput, INPUT]
    ) -> DeletePipelinePayload:
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        await pipelines.delete_pipeline(
            info.context.engine, info.context.notifier, pipeline_id, delete_runs=request.delete_runs
        )
        info.context.forget_loaded()
        return DeletePipelinePayload(deleted_pipeline_id=global_id("Pipeline", pipeline_id))
