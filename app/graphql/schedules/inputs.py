"""Inputs of the mutations of schedules."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from app.graphql.shared.enums import MissedPolicy
from app.graphql.shared.inputs import change, optional

_CRON = (
    "Cron expression of five fields: minute, hour, day of month, month, day of week. "
    '"30 2 * * MON-FRI" means 02:30 from Monday to Friday.'
)


@strawberry.input(description="A new schedule of a pipeline.")
class CreateScheduleInput:
    pipeline_id: strawberry.ID = strawberry.field(description="Global id of the pipeline to run.")
    name: str = strawberry.field(description="Name of the schedule, unique in its pipeline.")
    cron: str = strawberry.field(description=_CRON)
    time_zone: str = strawberry.field(
        default="UTC",
        description="IANA name of the time zone of the cron expression, for example Europe/Berlin.",
    )
    enabled: bool = strawberry.field(default=True, description="False creates it switched off.")
    missed_policy: MissedPolicy = strawberry.field(
        default=MissedPolicy.RUN_ONCE,
        description="What to do about runs that came due while no server could start them.",
    )
    run_config: JSON | None = optional("`runConfig` of its runs: a JSON object.")
    environment: str | None = optional(
        "`environment` of its runs, for example staging; that of the server when left out."
    )
    tags: list[str] | None = optional("Labels of its runs.")


@strawberry.input(
    description="Changes of a schedule; fields that are left out stay as they are. A new time applies from now on."
)
class UpdateScheduleInput:
    schedule_id: strawberry.ID = strawberry.field(description="Global id of the schedule to change.")
    name: strawberry.Maybe[str | None] = change("New name.")
    cron: strawberry.Maybe[str | None] = change(_CRON)
    time_zone: strawberry.Maybe[str | None] = change("New time zone: an IANA name.")
    enabled: strawberry.Maybe[bool | None] = change("True switches it on, false switches it off.")
    missed_policy: strawberry.Maybe[MissedPolicy | None] = change(
        "New policy for runs that came due while no server could start them."
    )
    run_config: strawberry.Maybe[JSON | None] = change(
        "New `runConfig` of its runs; null removes it.", removable=True
    )
    environment: strawberry.Maybe[str | None] = change(
        "New `environment` of its runs; null means that of the server.", removable=True
    )
    tags: strawberry.Maybe[list[str] | None] = change(
        "New labels of its runs; null removes them.", removable=True
    )


@strawberry.input(description="The schedule to delete.")
class DeleteScheduleInput:
    schedule_id: strawberry.ID = strawberry.field(
        description="Global id of the schedule to delete; its runs stay."
    )
