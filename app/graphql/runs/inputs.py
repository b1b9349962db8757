"""What clients send about runs: filter, order, and the inputs of the mutations."""

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
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to run.")
    run_config: JSON | None = optional("Parameters and limits which hold for this run only.")
    environment: str | None = optional("A name for where the run belongs, for example staging.")
    triggered_by: str | None = optional("Who or what asks for the run.")
    tags: list[str] | None = optional("Labels to find the run by, each given once.")
    notes: str | None = optional("Anything worth remembering about the run.")
    idempotency_key: str | None = optional("A second request with the same key gets the run of the first.")


@strawberry.input(description="A run to cancel.")
class CancelRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to cancel.")
    reason: str | None = optional("Why; kept with the run.")
    cancelled_by: str | None = optional("Who or what asks for it; kept with the run. API when left out.")


@strawberry.input(description="Changes of what is noted about a run; what is left out stays as it is.")
class UpdateRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to change.")
    tags: strawberry.Maybe[list[str] | None] = change(
        "The new list of labels; null removes them.", removable=True
    )
    notes: strawberry.Maybe[str | None] = change("New notes; null removes them.", removable=True)


@strawberry.input(description="Which run to delete.")
class DeleteRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to delete; it must be over.")


@strawberry.input(description="A run to do again.")
class RetryRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to do again, as a new run.")
    from_failed: bool = strawberry.field(
        default=True,
        description="Keep the results of the stages which succeeded; otherwise do all of them again.",
    )
    idempotency_key: str | None = optional("A second request with the same key gets the run of the first.")
