"""Reading and changing the schedules of pipelines."""

from __future__ import annotations

import uuid
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database import queries
from app.graphql.context import Context
from app.graphql.enums import MissedPolicy
from app.graphql.errors import UserError
from app.graphql.executor.reading import reads
from app.graphql.ids import global_id, required_key
from app.graphql.info import Info
from app.graphql.inputs import change, changes_of, draft_of, optional
from app.graphql.pages import Connection
from app.graphql.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.graphql.queries import NodeId, newest_first, node_or_none
from app.graphql.types.schedule import Schedule
from app.services import schedules

_CRON = 'Five fields, minute hour day-of-month month day-of-week: "30 2 * * MON-FRI" is 02:30 from Monday to Friday.'


@strawberry.input(description="A schedule for a pipeline.")
class CreateScheduleInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to run.")
    name: str = strawberry.field(description="Name of the schedule, unique in its pipeline.")
    cron: str = strawberry.field(description=_CRON)
    time_zone: str = strawberry.field(
        default="UTC",
        description="IANA name of the time zone the expression is meant in, like Europe/Berlin.",
    )
    enabled: bool = strawberry.field(default=True, description="False to switch it on later.")
    missed_policy: MissedPolicy = strawberry.field(
        default=MissedPolicy.RUN_ONCE, description="What to do about runs which were due while no server ran."
    )
    run_config: JSON | None = optional("Parameters and limits of its runs.")
    environment: str | None = optional("A name for where its runs belong, for example staging.")
    tags: list[str] | None = optional("Labels to find its runs by.")


@strawberry.input(
    description="Changes of a schedule; what is left out stays as it is. Another time counts from now on."
)
class UpdateScheduleInput:
    schedule_id: strawberry.ID = strawberry.field(description="The schedule to change.")
    name: strawberry.Maybe[str | None] = change("New name.")
    cron: strawberry.Maybe[str | None] = change(_CRON)
    time_zone: strawberry.Maybe[str | None] = change("New time zone.")
    enabled: strawberry.Maybe[bool | None] = change("Switch it on or off.")
    missed_policy: strawberry.Maybe[MissedPolicy | None] = change("What to do about missed runs.")
    run_config: strawberry.Maybe[JSON | None] = change(
        "New parameters and limits; null removes them.", removable=True
    )
    environment: strawberry.Maybe[str | None] = change(
        "New environment; null means that of the server.", removable=True
    )
    tags: strawberry.Maybe[list[str] | None] = change(
        "The new list of labels; null removes them.", removable=True
    )


@strawberry.input(description="Which schedule to delete.")
class DeleteScheduleInput:
    schedule_id: strawberry.ID = strawberry.field(description="The schedule to delete; its runs stay.")


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


@strawberry.type(description="Reads of schedules.")
class ScheduleQuery:
    schedules: Connection[Schedule] = newest_first(
        Schedule, queries.SCHEDULES, "All schedules of all pipelines, newest first."
    )

    @strawberry.field(description="One schedule, or null.", metadata=reads())
    async def schedule(self, info: Info, node_id: NodeId) -> Schedule | None:
        return await node_or_none(info.context.loaders.schedule_by_id, node_id, "Schedule")


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
        schedule_id = await schedules.create_schedule(context.engine, context.broker, pipeline_id, draft)
        return CreateSchedulePayload(schedule=await schedule_now(context, schedule_id))

    @strawberry.mutation(description="Change a schedule, or switch it on or off.")
    @expected_errors
    async def update_schedule(
        self, info: Info, request: Annotated[UpdateScheduleInput, INPUT]
    ) -> UpdateSchedulePayload:
        context = info.context
        schedule_id = required_key(request.schedule_id, "Schedule", "scheduleId")
        changes = storable(changes_of(request))
        await schedules.update_schedule(context.engine, context.broker, schedule_id, changes)
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
