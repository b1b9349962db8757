"""Changing pipelines and runs: each verb takes one input and answers with what it changed, or what was wrong."""

from __future__ import annotations

import uuid
from typing import Annotated

import strawberry

from app.graphql.context import Context
from app.graphql.errors import UserError
from app.graphql.ids import global_id, required_key
from app.graphql.info import Info
from app.graphql.inputs import (
    CancelRunInput,
    CreatePipelineInput,
    DeletePipelineInput,
    DeleteRunInput,
    RetryRunInput,
    StartRunInput,
    UpdatePipelineInput,
    UpdateRunInput,
    changes_of,
    draft_of,
)
from app.graphql.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.graphql.types.pipeline import Pipeline
from app.graphql.types.run import Run
from app.services import pipelines, run_records, runs


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


@strawberry.type(description="Outcome of startRun.")
class StartRunPayload:
    run: Run | None = none_of("The new run, or the one which was started with the same key before")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of cancelRun.")
class CancelRunPayload:
    run: Run | None = none_of("The run; it is CANCELLED as soon as none of its processes is left")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of retryRun.")
class RetryRunPayload:
    run: Run | None = none_of("The new run, or the one which was started with the same key before")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of updateRun.")
class UpdateRunPayload:
    run: Run | None = none_of("The run as it is now")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of deleteRun.")
class DeleteRunPayload:
    deleted_run_id: strawberry.ID | None = none_of("Global id of the run which is gone")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Changes of pipelines and runs.")
class Mutation:
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
            info.context.engine, info.context.broker, pipeline_id, delete_runs=request.delete_runs
        )
        info.context.forget_loaded()
        return DeletePipelinePayload(deleted_pipeline_id=global_id("Pipeline", pipeline_id))

    @strawberry.mutation(description="Start a run of a pipeline; it is PENDING until a worker takes it.")
    @expected_errors
    async def start_run(self, info: Info, request: Annotated[StartRunInput, INPUT]) -> StartRunPayload:
        run_id = await runs.start_run(
            info.context.engine, info.context.broker, start_of(request, info.context)
        )
        return StartRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Ask for the end of a run and of all its processes.")
    @expected_errors
    async def cancel_run(self, info: Info, request: Annotated[CancelRunInput, INPUT]) -> CancelRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        said = storable(draft_of(request))
        who, why = said.get("cancelledBy"), said.get("reason")
        await runs.cancel_run(info.context.engine, info.context.broker, run_id, why, who)
        return CancelRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Do a run which is over again, as a new run.")
    @expected_errors
    async def retry_run(self, info: Info, request: Annotated[RetryRunInput, INPUT]) -> RetryRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        key = storable(draft_of(request)).get("idempotencyKey")
        new_run_id = await runs.retry_run(
            info.context.engine, info.context.broker, run_id, request.from_failed, key
        )
        return RetryRunPayload(run=await run_now(info.context, new_run_id))

    @strawberry.mutation(description="Change what is noted about a run, at any time.")
    @expected_errors
    async def update_run(self, info: Info, request: Annotated[UpdateRunInput, INPUT]) -> UpdateRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        changes = storable(changes_of(request))
        await run_records.update_run(context.engine, context.broker, run_id, changes)
        return UpdateRunPayload(run=await run_now(context, run_id))

    @strawberry.mutation(
        description="Delete a run which is over, with its logs, events and artifacts. It stays as long as another run "
        "has taken over outputs of its stages."
    )
    @expected_errors
    async def delete_run(self, info: Info, request: Annotated[DeleteRunInput, INPUT]) -> DeleteRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        await run_records.delete_run(context.engine, context.broker, run_id)
        context.forget_loaded()
        return DeleteRunPayload(deleted_run_id=global_id("Run", run_id))


def start_of(request: StartRunInput, context: Context) -> runs.StartRun:
    draft = storable(draft_of(request))
    return runs.StartRun(
        pipeline_id=required_key(request.pipeline_id, "Pipeline", "pipelineId"),
        run_config=draft.get("runConfig"),
        environment=draft.get("environment") or context.environment,
        triggered_by=draft.get("triggeredBy"),
        tags=draft.get("tags", ()),
        notes=draft.get("notes"),
        idempotency_key=draft.get("idempotencyKey"),
    )


async def pipeline_now(context: Context, pipeline_id: uuid.UUID) -> Pipeline | None:
    context.forget_loaded()
    return await context.loaders.pipeline_by_id.load(pipeline_id)


async def run_now(context: Context, run_id: uuid.UUID) -> Run | None:
    context.forget_loaded()
    return await context.loaders.run_by_id.load(run_id)
