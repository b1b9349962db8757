"""What clients send about schedules."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from app.graphql.shared.enums import MissedPolicy
from app.graphql.shared.inputs import change, optional

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
