"""The verbs. Each takes one input and answers with what it changed, or with what was wrong as data."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import strawberry

from app.errors import DomainError
from app.graphql.context import Context
from app.graphql.errors import UserError, user_errors
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
    refuse_unstorable,
)
from app.graphql.types.pipeline import Pipeline
from app.graphql.types.run import Run
from app.services import pipelines, run_records, runs

_INPUT = strawberry.argument(name="input", description="What to do.")


def none_of(what: str) -> Any:
    return strawberry.field(default=None, description=f"{what}; null if there are errors.")


def no_errors() -> Any:
    return strawberry.field(
        default_factory=list, description="What was wrong; nothing was changed if there is any."
    )


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
    run: Run | None = none_of("The new run")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of updateRun.")
class UpdateRunPayload:
    run: Run | None = none_of("The run as it is now")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of deleteRun.")
class DeleteRunPayload:
    deleted_run_id: strawberry.ID | None = none_of("Global id of the run which is gone")
    errors: list[UserError] = no_errors()


@strawberry.type(description="All changes. Expected failures are in the errors of the payload.")
class Mutation:
    @strawberry.mutation(description="Register a pipeline.")
    async def create_pipeline(
        self, info: Info, request: Annotated[CreatePipelineInput, _INPUT]
    ) -> CreatePipelinePayload:
        try:
            pipeline_id = await pipelines.create_pipeline(info.context.engine, storable(draft_of(request)))
        except DomainError as error:
            return CreatePipelinePayload(errors=user_errors(error))
        return CreatePipelinePayload(pipeline=await pipeline_now(info.context, pipeline_id))

    @strawberry.mutation(description="Change a pipeline. Runs which were started before keep what they run.")
    async def update_pipeline(
        self, info: Info, request: Annotated[UpdatePipelineInput, _INPUT]
    ) -> UpdatePipelinePayload:
        try:
            pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
            await pipelines.update_pipeline(info.context.engine, pipeline_id, storable(changes_of(request)))
        except DomainError as error:
            return UpdatePipelinePayload(errors=user_errors(error))
        return UpdatePipelinePayload(pipeline=await pipeline_now(info.context, pipeline_id))

    @strawberry.mutation(description="Delete a pipeline.")
    async def delete_pipeline(
        self, info: Info, request: Annotated[DeletePipelineInput, _INPUT]
    ) -> DeletePipelinePayload:
        try:
            pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
            await pipelines.delete_pipeline(info.context.engine, pipeline_id, delete_runs=request.delete_runs)
        except DomainError as error:
            return DeletePipelinePayload(errors=user_errors(error))
        info.context.forget_loaded()
        return DeletePipelinePayload(deleted_pipeline_id=global_id("Pipeline", pipeline_id))

    @strawberry.mutation(description="Start a run of a pipeline; it is PENDING until a worker takes it.")
    async def start_run(self, info: Info, request: Annotated[StartRunInput, _INPUT]) -> StartRunPayload:
        try:
            run_id = await runs.start_run(
                info.context.engine, info.context.broker, start_of(request, info.context)
            )
        except DomainError as error:
            return StartRunPayload(errors=user_errors(error))
        return StartRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Ask for the end of a run and of all its processes.")
    async def cancel_run(self, info: Info, request: Annotated[CancelRunInput, _INPUT]) -> CancelRunPayload:
        draft = draft_of(request)
        try:
            run_id = required_key(request.run_id, "Run", "runId")
            said = storable(draft)
            who, why = said.get("cancelledBy"), said.get("reason")
            await runs.cancel_run(info.context.engine, info.context.broker, run_id, why, who)
        except DomainError as error:
            return CancelRunPayload(errors=user_errors(error))
        return CancelRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Do a run which is over again, as a new run.")
    async def retry_run(self, info: Info, request: Annotated[RetryRunInput, _INPUT]) -> RetryRunPayload:
        try:
            run_id = required_key(request.run_id, "Run", "runId")
            new_run_id = await runs.retry_run(
                info.context.engine, info.context.broker, run_id, request.from_failed
            )
        except DomainError as error:
            return RetryRunPayload(errors=user_errors(error))
        return RetryRunPayload(run=await run_now(info.context, new_run_id))

    @strawberry.mutation(description="Change what is noted about a run, at any time.")
    async def update_run(self, info: Info, request: Annotated[UpdateRunInput, _INPUT]) -> UpdateRunPayload:
        context = info.context
        try:
            run_id = required_key(request.run_id, "Run", "runId")
            changes = storable(changes_of(request))
            await run_records.update_run(context.engine, context.broker, run_id, changes)
        except DomainError as error:
            return UpdateRunPayload(errors=user_errors(error))
        return UpdateRunPayload(run=await run_now(context, run_id))

    @strawberry.mutation(
        description="Delete a run which is over, with its logs, events and artifacts. It stays as long as another run "
        "has taken over outputs of its stages."
    )
    async def delete_run(self, info: Info, request: Annotated[DeleteRunInput, _INPUT]) -> DeleteRunPayload:
        context = info.context
        try:
            run_id = required_key(request.run_id, "Run", "runId")
            await run_records.delete_run(context.engine, context.broker, run_id)
        except DomainError as error:
            return DeleteRunPayload(errors=user_errors(error))
        context.forget_loaded()
        return DeleteRunPayload(deleted_run_id=global_id("Run", run_id))


def storable(draft: dict[str, Any]) -> dict[str, Any]:
    refuse_unstorable(draft)
    return draft


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
