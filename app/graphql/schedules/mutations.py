"""Mutations that create, change and delete schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.schedules.inputs import CreateScheduleInput, DeleteScheduleInput, UpdateScheduleInput
from app.graphql.schedules.types import Schedule
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.services import schedules

if TYPE_CHECKING:
    pass


@strawberry.type(description="Outcome of createSchedule.")
class CreateSchedulePayload(Payload):
    schedule: Schedule | None = null_on_error("The new schedule")


@strawberry.type(description="Outcome of updateSchedule.")
class UpdateSchedulePayload(Payload):
    schedule: Schedule | None = null_on_error("The schedule after the change")


@strawberry.type(description="Outcome of deleteSchedule.")
class DeleteSchedulePayload(Payload):
    deleted_schedule_id: strawberry.ID | None = null_on_error("Global id of the deleted schedule")


@strawberry.type(description="Changes of schedules.")
class ScheduleMutation:
    @mutation("Create a schedule: it starts runs of a pipeline at set times.")
    async def create_schedule(
        self, info: Info, request: Annotated[CreateScheduleInput, INPUT]
    ) -> CreateSchedulePayload:
        context = info.context
        pipeline_id = required_key(request.pipeline_id, "Pipeline", "pipelineId")
        draft = storable(draft_of(request))
        schedule_id = await schedules.create_schedule(context.engine, context.notifier, pipeline_id, draft)
        return CreateSchedulePayload(schedule=await context.fresh_loaders().schedule_by_id.load(schedule_id))

    @mutation("Change a schedule, or switch it on or off.")
    async def update_schedule(
        self, info: Info, request: Annotated[UpdateScheduleInput, INPUT]
    ) -> UpdateSchedulePayload:
        context = info.context
        schedule_id = required_key(request.schedule_id, "Schedule", "scheduleId")
        changes = storable(changes_of(request))
        await schedules.update_schedule(context.engine, context.notifier, schedule_id, changes)
        return UpdateSchedulePayload(schedule=await context.fresh_loaders().schedule_by_id.load(schedule_id))

    @mutation("Delete a schedule. Its runs stay.")
    async def delete_schedule(
        self, info: Info, request: Annotated[DeleteScheduleInput, INPUT]
    ) -> DeleteSchedulePayload:
        schedule_id = required_key(request.schedule_id, "Schedule", "scheduleId")
        await schedules.delete_schedule(info.context.engine, schedule_id)
        info.context.forget_loaded()
        return DeleteSchedulePayload(deleted_schedule_id=global_id("Schedule", schedule_id))
