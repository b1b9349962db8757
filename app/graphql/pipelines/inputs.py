"""What clients send about pipelines: filter, order, and the inputs of the mutations."""

from __future__ import annotations

import enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database.tables import pipelines
from app.graphql.shared.enums import RunStatus, StageType, describe
from app.graphql.shared.filters import Filter, filter_argument, filter_field
from app.graphql.shared.inputs import change, optional
from app.graphql.shared.orders import BY_TIME_OR_NAME, ORDER


class PipelineOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


describe(PipelineOrder, "Order of a list of pipelines.", BY_TIME_OR_NAME)


PipelineOrderArgument = Annotated[PipelineOrder, ORDER]


@strawberry.input(description="Narrows a list of pipelines; every field that is given must hold.")
class PipelineFilter(Filter):
    name: str | None = filter_field(
        "The name contains this text, in any case.",
        lambda text: pipelines.c.name.icontains(text, autoescape=True),
    )
    status: list[RunStatus] | None = filter_field(
        "The pipeline has one of these statuses.", pipelines.c.status.in_
    )


PipelineFilterArgument = Annotated[PipelineFilter | None, filter_argument("pipelines")]


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
