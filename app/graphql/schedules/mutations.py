"""Reading and changing the schedules of pipelines."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.schedules.inputs import CreateScheduleInput, DeleteScheduleInput, UpdateScheduleInput
from app.graphql.schedules.types import Schedule
from app.graphql.shared.errors import UserError
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.services import schedules

if TYPE_CHECKING:
    from app.graphql.context import Context


@strawberry.type(description="Outcome of createSchedule.")
class CreateSchedulePayload:
    schedule: Schedule | None = none_of("The new schedule")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of updateSchedule.")
class UpdateSchedulePayload:
    schedule: Schedule | None = none_of("The schedule as it is now")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of deleteSchedule.")
class DeleteSchedulePayload:
    deleted_schedule_id: strawberry.ID | None = none_of("Global id of the schedule which is gone")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Changes of schedules.")
class ScheduleMutation:
    @strawberry.mutation(description="Run a pipeline at set times.")
    @expected_errors
    async def create_schedule(
        self, info: Info, request: Annotated[CreateScheduleInput, INPUT]
    ) -> CreateSchedulePayload:
        context = info.context
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        draft = storable(draft_of(request))
        schedule_id = await schedules.create_schedule(context.engine, context.notifier, pipeline_id, draft)
        return CreateSchedulePayload(schedule=await schedule_now(context, schedule_id))

    @strawberry.mutation(description="Change a schedule, or switch it on or off.")
    @expected_errors
    async def update_schedule(
        self, info: Info, request: Annotated[UpdateScheduleInput, INPUT]
    ) -> UpdateSchedulePayload:
        context = info.context
        schedule_id = required_key(request.schedule_id, "Schedule", "scheduleId")
        changes = storable(changes_of(request))
        await schedules.update_schedule(context.engine, context.notifier, schedule_id, changes)
        return UpdateSchedulePayload(schedule=await schedule_now(context, schedule_id))

    @strawberry.mutation(description="Delete a schedule. The runs it started stay.")
    @expected_errors
    async def delete_schedule(
        self, info: Info, request: Annotated[DeleteScheduleInput, INPUT]
    ) -> DeleteSchedulePayload:
        schedule_id = required_key(request.schedule_id, "Schedule", "scheduleId")
        await schedules.delete_schedule(info.context.engine, schedule_id)
        info.context.forget_loaded()
        return DeleteSchedulePayload(deleted_schedule_id=global_id("Schedule", schedule_id))


async def schedule_now(context: Context, schedule_id: uuid.UUID) -> Schedule | None:
    context.forget_loaded()
    return await context.loaders.schedule_by_id.load(schedule_id)
