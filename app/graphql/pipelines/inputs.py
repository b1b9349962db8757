"""Filter, order and inputs of mutations for pipelines."""

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
    stage_type: StageType = strawberry.field(description="The kind of work the stage does.")
    custom_name: str | None = optional("What a stage of the type CUSTOM does.")
    order: int | None = optional(
        "Position of the stage in its pipeline, from 0; when left out the smallest free one, in the order of `stages`."
    )
    dependencies: list[str] | None = optional("Names of the stages that must succeed before it starts.")
    config: JSON | None = optional(
        "The command of the stage and how to execute it: a JSON object; see docs/stages.md."
    )


@strawberry.input(description="A new pipeline.")
class CreatePipelineInput:
    name: str = strawberry.field(description="Name of the pipeline.")
    description: str | None = optional("What the pipeline is for.")
    config: JSON | None = optional(
        "Settings that all of its stages share: a JSON object; see docs/stages.md."
    )
    stages: list[StageInput] = strawberry.field(description="The stages of the pipeline.")


@strawberry.input(description="Changes of a pipeline; fields that are left out stay as they are.")
class UpdatePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="Global id of the pipeline to change.")
    name: strawberry.Maybe[str | None] = change("New name.")
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    config: strawberry.Maybe[JSON | None] = change("New settings; null removes them.", removable=True)
    stages: strawberry.Maybe[list[StageInput] | None] = change(
        "The new list of stages; a stage with the name of an old one keeps its id."
    )


@strawberry.input(description="The pipeline to delete.")
class DeletePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="Global id of the pipeline to delete.")
    delete_runs: bool = strawberry.field(
        default=False,
        description="Also delete its runs and their artifacts. If false, a pipeline with runs is not deleted.",
    )
