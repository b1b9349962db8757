"""What clients send about runs: filter, order, and the inputs of the mutations."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database.reads.pages import Conditions, run_conditions
from app.graphql.shared.connections import given
from app.graphql.shared.enums import RunStatus, TriggerType, describe
from app.graphql.shared.inputs import BY_TIME, change, key_in_filter, optional, refuse_unstorable


class RunOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


describe(RunOrder, "Order of a list of runs.", BY_TIME)


@strawberry.input(description="Narrows a list of runs; everything given must hold.")
class RunFilter:
    status: list[RunStatus] | None = optional("The run has one of these statuses.")
    pipeline_id: strawberry.ID | None = optional("The run is one of this pipeline.")
    tags: list[str] | None = optional("The run has all these tags.")
    environment: str | None = optional("The run is in this environment.")
    trigger_type: TriggerType | None = optional("This started the run.")
    created_after: dt.datetime | None = optional("The run was created later than this.")
    created_before: dt.datetime | None = optional("The run was created earlier than this.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"tags": given(self.tags), "environment": given(self.environment)}, "filter")
        return run_conditions(
            status=given(self.status),
            pipeline_id=self.pipeline_key(),
            tags=given(self.tags),
            environment=given(self.environment),
            trigger_type=given(self.trigger_type),
            created_after=given(self.created_after),
            created_before=given(self.created_before),
        )

    def pipeline_key(self) -> uuid.UUID | None:
        return key_in_filter(self.pipeline_id, "Pipeline", "pipelineId")


RunFilterArgument = Annotated[
    RunFilter | None, strawberry.argument(name="filter", description="Only runs which match.")
]


RunOrderArgument = Annotated[RunOrder, strawberry.argument(description="Order of the list.")]


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
