"""What clients send about pipelines: filter, order, and the inputs of the mutations."""

from __future__ import annotations

import enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database.reads.pages import Conditions, pipeline_conditions
from app.graphql.shared.connections import given
from app.graphql.shared.enums import RunStatus, StageType, describe
from app.graphql.shared.inputs import BY_TIME_OR_NAME, change, optional, refuse_unstorable


class PipelineOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


describe(PipelineOrder, "Order of a list of pipelines.", BY_TIME_OR_NAME)


@strawberry.input(description="Narrows a list of pipelines; everything given must hold.")
class PipelineFilter:
    name: str | None = optional("The name contains this, whatever the case.")
    status: list[RunStatus] | None = optional("The pipeline has one of these statuses.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"name": given(self.name)}, "filter")
        return pipeline_conditions(name=given(self.name), status=given(self.status))


PipelineFilterArgument = Annotated[
    PipelineFilter | None, strawberry.argument(name="filter", description="Only pipelines which match.")
]


PipelineOrderArgument = Annotated[PipelineOrder, strawberry.argument(description="Order of the list.")]


@strawberry.input(description="A stage of a pipeline.")
class StageInput:
    name: str = strawberry.field(description="Name of the stage, unique in its pipeline.")
    stage_type: StageType = strawberry.field(description="What the stage does.")
    custom_name: str | None = optional("What a CUSTOM stage does.")
    order: int | None = optional("Place of the stage; derived from the dependencies when left out.")
    dependencies: list[str] | None = optional("Names of the stages which must succeed first.")
    config: JSON | None = optional("The command of the stage and how it is executed.")


@strawberry.input(description="A new pipeline.")
class CreatePipelineInput:
    name: str = strawberry.field(description="Name of the pipeline.")
    description: str | None = optional("What the pipeline is for.")
    config: JSON | None = optional("Settings all its stages share.")
    stages: list[StageInput] = strawberry.field(description="Its stages.")


@strawberry.input(description="Changes of a pipeline; what is left out stays as it is.")
class UpdatePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to change.")
    name: strawberry.Maybe[str | None] = change("New name.")
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    config: strawberry.Maybe[JSON | None] = change("New settings; null removes them.", removable=True)
    stages: strawberry.Maybe[list[StageInput] | None] = change(
        "The new list of stages; a stage of the same name keeps its identity."
    )


@strawberry.input(description="Which pipeline to delete.")
class DeletePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to delete.")
    delete_runs: bool = strawberry.field(
        default=False,
        description="Delete its runs and their artifacts too; without it a pipeline with runs stays.",
    )
