"""Changes of runs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.runs.inputs import (
    CancelRunInput,
    DeleteRunInput,
    RetryRunInput,
    StartRunInput,
    UpdateRunInput,
)
from app.graphql.runs.types import Run
from app.graphql.shared.errors import UserError
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.services import run_records, runs

if TYPE_CHECKING:
    from app.graphql.context import Context


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


async def run_now(context: Context, run_id: uuid.UUID) -> Run | None:
    context.forget_loaded()
    return await context.loaders.run_by_id.load(run_id)


@strawberry.type(description="Changes of runs.")
class RunMutation:
    @strawberry.mutation(description="Start a run of a pipeline; it is PENDING until a worker takes it.")
    @expected_errors
    async def start_run(self, info: Info, request: Annotated[StartRunInput, INPUT]) -> StartRunPayload:
        run_id = await runs.start_run(
            info.context.engine, info.context.notifier, start_of(request, info.context)
        )
        return StartRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Ask for the end of a run and of all its processes.")
    @expected_errors
    async def cancel_run(self, info: Info, request: Annotated[CancelRunInput, INPUT]) -> CancelRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        said = storable(draft_of(request))
        who, why = said.get("cancelledBy"), said.get("reason")
        await runs.cancel_run(info.context.engine, info.context.notifier, run_id, why, who)
        return CancelRunPayload(run=await run_now(info.context, run_id))

    @strawberry.mutation(description="Do a run which is over again, as a new run.")
    @expected_errors
    async def retry_run(self, info: Info, request: Annotated[RetryRunInput, INPUT]) -> RetryRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        key = storable(draft_of(request)).get("idempotencyKey")
        new_run_id = await runs.retry_run(
            info.context.engine, info.context.notifier, run_id, request.from_failed, key
        )
        return RetryRunPayload(run=await run_now(info.context, new_run_id))

    @strawberry.mutation(description="Change what is noted about a run, at any time.")
    @expected_errors
    async def update_run(self, info: Info, request: Annotated[UpdateRunInput, INPUT]) -> UpdateRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        changes = storable(changes_of(request))
        await run_records.update_run(context.engine, context.notifier, run_id, changes)
        return UpdateRunPayload(run=await run_now(context, run_id))

    @strawberry.mutation(
        description="Delete a run which is over, with its logs, events and artifacts. It stays as long as another run "
        "has taken over outputs of its stages."
    )
    @expected_errors
    async def delete_run(self, info: Info, request: Annotated[DeleteRunInput, INPUT]) -> DeleteRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        await run_records.delete_run(context.engine, context.notifier, run_id)
        context.forget_loaded()
        return DeleteRunPayload(deleted_run_id=global_id("Run", run_id))
