"""Mutations that start, cancel, retry, change and delete runs."""

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
from app.services import retries, run_records, runs

if TYPE_CHECKING:
    from app.graphql.context import Context


@strawberry.type(description="Outcome of startRun.")
class StartRunPayload(Payload):
    run: Run | None = null_on_error("The new run, or the run started earlier with the same idempotency key")


@strawberry.type(description="Outcome of cancelRun.")
class CancelRunPayload(Payload):
    run: Run | None = null_on_error("The run; it becomes CANCELLED when none of its processes is left")


@strawberry.type(description="Outcome of retryRun.")
class RetryRunPayload(Payload):
    run: Run | None = null_on_error("The new run, or the run started earlier with the same idempotency key")


@strawberry.type(description="Outcome of updateRun.")
class UpdateRunPayload(Payload):
    run: Run | None = null_on_error("The run after the change")


@strawberry.type(description="Outcome of deleteRun.")
class DeleteRunPayload(Payload):
    deleted_run_id: strawberry.ID | None = null_on_error("Global id of the deleted run")


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
        trigger_type=context.trigger_type,
    )


@strawberry.type(description="Changes of runs.")
class RunMutation:
    @mutation("Start a run of a pipeline; it is PENDING until a worker starts it.")
    async def start_run(self, info: Info, request: Annotated[StartRunInput, INPUT]) -> StartRunPayload:
        run_id = await runs.start_run(
            info.context.engine, info.context.notifier, start_of(request, info.context)
        )
        return StartRunPayload(run=await info.context.fresh_loaders().run_by_id.load(run_id))

    @mutation(
        "Cancel a run: its waiting stages end at once, its processes are stopped. Repeated calls change nothing."
    )
    async def cancel_run(self, info: Info, request: Annotated[CancelRunInput, INPUT]) -> CancelRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        draft = storable(draft_of(request))
        actor, reason = draft.get("cancelledBy"), draft.get("reason")
        await runs.cancel_run(info.context.engine, info.context.notifier, run_id, reason, actor)
        return CancelRunPayload(run=await info.context.fresh_loaders().run_by_id.load(run_id))

    @mutation("Repeat a run that has ended, as a new run.")
    async def retry_run(self, info: Info, request: Annotated[RetryRunInput, INPUT]) -> RetryRunPayload:
        run_id = required_key(request.run_id, "Run", "runId")
        key = storable(draft_of(request)).get("idempotencyKey")
        new_run_id = await retries.retry_run(
            info.context.engine,
            info.context.notifier,
            run_id,
            request.from_failed,
            key,
            info.context.trigger_type,
        )
        return RetryRunPayload(run=await info.context.fresh_loaders().run_by_id.load(new_run_id))

    @mutation("Change the tags and notes of a run, in any status.")
    async def update_run(self, info: Info, request: Annotated[UpdateRunInput, INPUT]) -> UpdateRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        changes = storable(changes_of(request))
        await run_records.update_run(context.engine, context.notifier, run_id, changes)
        return UpdateRunPayload(run=await context.fresh_loaders().run_by_id.load(run_id))

    @mutation(
        "Delete a run that has ended, with its logs, events and artifacts. It can't be deleted while another run "
        "reuses results of its stages, or while one of its models is a version of a registered model."
    )
    async def delete_run(self, info: Info, request: Annotated[DeleteRunInput, INPUT]) -> DeleteRunPayload:
        context = info.context
        run_id = required_key(request.run_id, "Run", "runId")
        await run_records.delete_run(context.engine, context.notifier, run_id)
        context.forget_loaded()
        return DeleteRunPayload(deleted_run_id=global_id("Run", run_id))
