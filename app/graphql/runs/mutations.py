"""Changes of runs."""

from __future__ import annotations

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
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.services import run_records, runs

if TYPE_CHECKING:
    from app.graphql.context import Context


@strawberry.type(description="Outcome of startRun.")
class StartRunPayload(Payload):
    run: Run | None = null_on_error("The new run, or the one which was started with the same key before")


@strawberry.type(description="Outcome of cancelRun.")
class CancelRunPayload(Payload):
    run: Run | None = null_on_error("The run; it is CANCELLED as soon as none of its processes is left")


@strawberry.type(description="Outcome of retryRun.")
class RetryRunPayload(Payload):
    run: Run | None = null_on_error("The new run, or the one which was started with the same key before")


@strawberry.type(description="Outcome of updateRun.")
class UpdateRunPayload(Payload):
    run: Run | None = null_on_error("The run as it is now")


@strawberry.type(description="Outcome of deleteRun.")
class DeleteRunPayload(Payload):
    deleted_run_id: strawberry.ID | None = null_on_error("Global id of the run which is gone")


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


@strawberry.type(description="Changes of runs.")
class RunMutation:
    @mutation("Start a run of a pipeline; it is PENDING until a worker takes it.")
    async def start_run(self, info: Info, request: Annotated[StartRunInput, INPUT]) -> StartRunPayload:
        run_id = await runs.start_run(
            info.context.engine, info.context.notifier, start_of(request, info.context)
        )
        return StartRunPayload(run=await info.context.fresh_loaders().run_by_id.load(run_id))

    @mutation("Ask for the end of a run and of all its processes.")
    async def cancel_run(self, info: Info, request: Annotated[CancelRunInput, INPUT]) -> CancelRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        said = storable(draft_of(request))
        who, why = said.get("cancelledBy"), said.get("reason")
        await runs.cancel_run(info.context.engine, info.context.notifier, run_id, why, who)
        return CancelRunPayload(run=await info.context.fresh_loaders().run_by_id.load(run_id))

    @mutation("Do a run which is over again, as a new run.")
    async def retry_run(self, info: Info, request: Annotated[RetryRunInput, INPUT]) -> RetryRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        key = storable(draft_of(request)).get("idempotencyKey")
        new_run_id = await runs.retry_run(
            info.context.engine, info.context.notifier, run_id, request.from_failed, key
        )
        return RetryRunPayload(run=await info.context.fresh_loaders().run_by_id.load(new_run_id))

    @mutation("Change what is noted about a run, at any time.")
    async def update_run(self, info: Info, request: Annotated[UpdateRunInput, INPUT]) -> UpdateRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        changes = storable(changes_of(request))
        await run_records.update_run(context.engine, context.notifier, run_id, changes)
        return UpdateRunPayload(run=await context.fresh_loaders().run_by_id.load(run_id))

    @mutation(
        "Delete a run which is over, with its logs, events and artifacts. It stays as long as another run "
        "has taken over outputs of its stages."
    )
    async def delete_run(self, info: Info, request: Annotated[DeleteRunInput, INPUT]) -> DeleteRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        await run_records.delete_run(context.engine, context.notifier, run_id)
        context.forget_loaded()
        return DeleteRunPayload(deleted_run_id=global_id("Run", run_id))
