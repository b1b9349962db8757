"""Filter, order and inputs of mutations for runs."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database.tables import pipeline_runs
from app.graphql.shared.enums import RunStatus, TriggerType, describe
from app.graphql.shared.filters import Filter, filter_argument, filter_field
from app.graphql.shared.inputs import change, optional
from app.graphql.shared.orders import BY_TIME, ORDER

_RUN = pipeline_runs.c


class RunOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


describe(RunOrder, "Order of a list of runs.", BY_TIME)


RunOrderArgument = Annotated[RunOrder, ORDER]


@strawberry.input(description="Narrows a list of runs; every field that is given must hold.")
class RunFilter(Filter):
    status: list[RunStatus] | None = filter_field("The run has one of these statuses.", _RUN.status.in_)
    pipeline_id: strawberry.ID | None = filter_field(
        "The run belongs to this pipeline.", lambda key: _RUN.pipeline_id == key, id_of="Pipeline", fixed=True
    )
    tags: list[str] | None = filter_field("The run has all of these tags.", _RUN.tags.contains)
    environment: str | None = filter_field(
        "The run is in this environment.", lambda name: _RUN.environment == name
    )
    trigger_type: TriggerType | None = filter_field(
        "The run was started in this way.", lambda trigger: _RUN.trigger_type == trigger, fixed=True
    )
    created_after: dt.datetime | None = filter_field(
        "The run was created later than this.", lambda time: _RUN.created_at > time, fixed=True
    )
    created_before: dt.datetime | None = filter_field(
        "The run was created earlier than this.", lambda time: _RUN.created_at < time, fixed=True
    )


RunFilterArgument = Annotated[RunFilter | None, filter_argument("runs")]


@strawberry.input(description="A run to start.")
class StartRunInput:
    pipeline_id: strawberry.ID = strawberry.field(description="Global id of the pipeline to run.")
    run_config: JSON | None = optional(
        "Parameters and limits of this run only: a JSON object; see docs/stages.md."
    )
    environment: str | None = optional(
        "Name of the environment of the run, for example staging; that of the server when left out."
    )
    triggered_by: str | None = optional("Name of the person or program that starts the run.")
    tags: list[str] | None = optional("Labels of the run, each at most once.")
    notes: str | None = optional("Notes about the run, for people.")
    idempotency_key: str | None = optional(
        "A further request with the same key returns the run of the first one and starts none."
    )


@strawberry.input(description="A run to cancel.")
class CancelRunInput:
    run_id: strawberry.ID = strawberry.field(description="Global id of the run to cancel.")
    reason: str | None = optional("The reason, for people; stored as `cancelReason`.")
    cancelled_by: str | None = optional(
        "Name of the person or program that cancels; stored as `cancelActor`. API when left out."
    )


@strawberry.input(
    description="Changes of the tags and notes of a run; fields that are left out stay as they are."
)
class UpdateRunInput:
    run_id: strawberry.ID = strawberry.field(description="Global id of the run to change.")
    tags: strawberry.Maybe[list[str] | None] = change("The new labels; null removes them.", removable=True)
    notes: strawberry.Maybe[str | None] = change("New notes; null removes them.", removable=True)


@strawberry.input(description="The run to delete.")
class DeleteRunInput:
    run_id: strawberry.ID = strawberry.field(
        description="Global id of the run to delete; it must have ended."
    )


@strawberry.input(description="A run to repeat.")
class RetryRunInput:
    run_id: strawberry.ID = strawberry.field(
        description="Global id of the run to repeat; it must have ended."
    )
    from_failed: bool = strawberry.field(
        default=True,
        description="Reuse the results of stages that succeeded and depend on no repeated stage; if false, "
        "execute all stages.",
    )
    idempotency_key: str | None = optional(
        "A further request with the same key returns the run of the first one and starts none."
    )
