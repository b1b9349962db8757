"""Filters, order and inputs of mutations for artifacts, datasets and models."""

from __future__ import annotations

import enum
import uuid
from typing import Annotated

import sqlalchemy as sa
import strawberry
from strawberry.scalars import JSON

from app.database.tables import artifacts, datasets, models, pipeline_stages, stage_runs
from app.graphql.shared.enums import ArtifactStatus, ArtifactType, describe
from app.graphql.shared.filters import Condition, Filter, filter_argument, filter_field
from app.graphql.shared.inputs import change, optional
from app.graphql.shared.orders import BY_TIME_OR_NAME, ORDER
from app.graphql.shared.scalars import BigInt


class ArtifactOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


describe(ArtifactOrder, "Order of a list of artifacts.", BY_TIME_OR_NAME)


ArtifactOrderArgument = Annotated[ArtifactOrder, ORDER]


def name_contains(text: str) -> sa.ColumnElement[bool]:
    return artifacts.c.name.icontains(text, autoescape=True)


def made_by_run(run_id: uuid.UUID) -> sa.ColumnElement[bool]:
    of_run = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == run_id)
    return artifacts.c.stage_run_id.in_(of_run)


def made_by_pipeline(pipeline_id: uuid.UUID) -> sa.ColumnElement[bool]:
    stages = sa.select(pipeline_stages.c.id).where(pipeline_stages.c.pipeline_id == pipeline_id)
    return artifacts.c.stage_id.in_(stages)


@strawberry.input(description="Narrows a list of artifacts; every field that is given must hold.")
class ArtifactFilter(Filter):
    artifact_type: list[ArtifactType] | None = filter_field(
        "The artifact has one of these types.", artifacts.c.artifact_type.in_
    )
    status: list[ArtifactStatus] | None = filter_field(
        "The artifact has one of these statuses.", artifacts.c.status.in_
    )
    name: str | None = filter_field("The name contains this text, in any case.", name_contains)
    run_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a stage of this run.", made_by_run, id_of="Run"
    )
    stage_run_id: strawberry.ID | None = filter_field(
        "The artifact belongs to this stage run.",
        lambda key: artifacts.c.stage_run_id == key,
        id_of="StageRun",
    )
    pipeline_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a run of this pipeline.", made_by_pipeline, id_of="Pipeline"
    )


ArtifactFilterArgument = Annotated[ArtifactFilter | None, filter_argument("artifacts")]


def where_artifact(artifact_id: sa.Column[uuid.UUID], condition: Condition) -> Condition:
    """The condition that ``condition`` holds for the artifact with the id in this column."""
    return lambda value: artifact_id.in_(sa.select(artifacts.c.id).where(condition(value)))


@strawberry.input(description="Narrows a list of datasets; every field that is given must hold.")
class DatasetFilter(Filter):
    format: str | None = filter_field(
        "The file has this format, in any case, for example csv.",
        lambda text: sa.func.lower(datasets.c.format) == text.lower(),
    )
    name: str | None = filter_field(
        "The name of the artifact contains this text, in any case.",
        where_artifact(datasets.c.artifact_id, name_contains),
    )
    run_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a stage of this run.",
        where_artifact(datasets.c.artifact_id, made_by_run),
        id_of="Run",
    )
    pipeline_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a run of this pipeline.",
        where_artifact(datasets.c.artifact_id, made_by_pipeline),
        id_of="Pipeline",
    )


DatasetFilterArgument = Annotated[DatasetFilter | None, filter_argument("datasets")]


@strawberry.input(description="Narrows a list of models; every field that is given must hold.")
class ModelFilter(Filter):
    algorithm: str | None = filter_field(
        "The algorithm contains this text, in any case.",
        lambda text: models.c.algorithm.icontains(text, autoescape=True),
    )
    framework: str | None = filter_field(
        "The framework contains this text, in any case.",
        lambda text: models.c.framework.icontains(text, autoescape=True),
    )
    name: str | None = filter_field(
        "The name of the artifact contains this text, in any case.",
        where_artifact(models.c.artifact_id, name_contains),
    )
    run_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a stage of this run.",
        where_artifact(models.c.artifact_id, made_by_run),
        id_of="Run",
    )
    pipeline_id: strawberry.ID | None = filter_field(
        "The artifact belongs to a run of this pipeline.",
        where_artifact(models.c.artifact_id, made_by_pipeline),
        id_of="Pipeline",
    )


ModelFilterArgument = Annotated[ModelFilter | None, filter_argument("models")]


@strawberry.input(one_of=True, description="Where the bytes of an artifact come from: give exactly one.")
class ArtifactSource:
    file: strawberry.Maybe[str | None] = strawberry.field(
        description="Path of a file in the server's MLP_IMPORT_FOLDER; the server copies it into its store."
    )
    text: strawberry.Maybe[str | None] = strawberry.field(
        description="The content itself, for small artifacts."
    )
    location: strawberry.Maybe[str | None] = strawberry.field(
        description="Address of bytes that stay where they are, for example s3://bucket/key; the server never "
        "reads from it."
    )


@strawberry.input(description="What the client knows about an artifact as a dataset.")
class DatasetInput:
    format: str | None = optional("Format of the file, for example csv.")
    row_count: BigInt | None = optional("Number of rows.")
    column_count: int | None = optional("Number of columns.")
    schema: JSON | None = optional(
        'The columns: a list of objects, for example {"name": "age", "type": "integer"}.'
    )


@strawberry.input(description="What the client knows about an artifact as a model.")
class ModelInput:
    model_type: str | None = optional("Its task, for example classification.")
    algorithm: str | None = optional("Its algorithm, for example random forest.")
    framework: str | None = optional("The library it was made with, for example scikit-learn.")
    model_format: str | None = optional("Format of the file, for example joblib.")
    training_dataset_id: strawberry.ID | None = optional("Global id of the dataset it was trained with.")
    training_config: JSON | None = optional("Settings of its training: a JSON object.")
    metrics: JSON | None = optional("Its metrics by name: a JSON object.")


@strawberry.input(description="An artifact to register.")
class RegisterArtifactInput:
    stage_run_id: strawberry.ID = strawberry.field(
        description="Global id of the stage run it belongs to, in any status."
    )
    name: str = strawberry.field(
        description="Name of the artifact, unique among the artifacts registered with the stage run."
    )
    artifact_type: ArtifactType = strawberry.field(description="The kind of artifact.")
    source: ArtifactSource = strawberry.field(description="Where its bytes come from.")
    description: str | None = optional("A description, for people.")
    artifact_metadata: JSON | None = optional("Anything else to store with it: a JSON object.")
    dataset: DatasetInput | None = optional("Details of a dataset.")
    model: ModelInput | None = optional("Details of a model.")


@strawberry.input(description="Changes of an artifact; fields that are left out stay as they are.")
class UpdateArtifactInput:
    artifact_id: strawberry.ID = strawberry.field(description="Global id of the artifact to change.")
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    artifact_metadata: strawberry.Maybe[JSON | None] = change(
        "The new JSON object of anything else stored with it; null removes it.", removable=True
    )
    is_active: strawberry.Maybe[bool | None] = change(
        "False withdraws it: its bytes can no longer be downloaded. True makes it active again."
    )
