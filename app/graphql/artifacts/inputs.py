"""What clients send about artifacts: filters, order, and the inputs of the mutations."""

from __future__ import annotations

import enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.database.reads.pages import Conditions, artifact_conditions, dataset_conditions, model_conditions
from app.graphql.shared.connections import given
from app.graphql.shared.enums import ArtifactStatus, ArtifactType, describe
from app.graphql.shared.inputs import BY_TIME_OR_NAME, change, key_in_filter, optional, refuse_unstorable
from app.graphql.shared.scalars import BigInt


class ArtifactOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


describe(ArtifactOrder, "Order of a list of artifacts.", BY_TIME_OR_NAME)


@strawberry.input(description="Narrows a list of artifacts; everything given must hold.")
class ArtifactFilter:
    artifact_type: list[ArtifactType] | None = optional("The artifact is one of these.")
    status: list[ArtifactStatus] | None = optional("The artifact has one of these statuses.")
    name: str | None = optional("The name contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    stage_run_id: strawberry.ID | None = optional("The artifact was made by this stage run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"name": given(self.name)}, "filter")
        return artifact_conditions(
            artifact_type=given(self.artifact_type),
            status=given(self.status),
            name=given(self.name),
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            stage_run_id=key_in_filter(self.stage_run_id, "StageRun", "stageRunId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


@strawberry.input(description="Narrows a list of datasets; everything given must hold.")
class DatasetFilter:
    format: str | None = optional("The file has this format, whatever the case, for example csv.")
    name: str | None = optional("The name of the artifact contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"format": given(self.format), "name": given(self.name)}, "filter")
        return dataset_conditions(
            file_format=given(self.format),
            name=given(self.name),
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


@strawberry.input(description="Narrows a list of models; everything given must hold.")
class ModelFilter:
    algorithm: str | None = optional("The algorithm contains this, whatever the case.")
    framework: str | None = optional("The framework contains this, whatever the case.")
    name: str | None = optional("The name of the artifact contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        texts = {name: given(getattr(self, name)) for name in ("algorithm", "framework", "name")}
        refuse_unstorable(texts, "filter")
        return model_conditions(
            **texts,
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


ArtifactFilterArgument = Annotated[
    ArtifactFilter | None, strawberry.argument(name="filter", description="Only artifacts which match.")
]


DatasetFilterArgument = Annotated[
    DatasetFilter | None, strawberry.argument(name="filter", description="Only datasets which match.")
]


ModelFilterArgument = Annotated[
    ModelFilter | None, strawberry.argument(name="filter", description="Only models which match.")
]


ArtifactOrderArgument = Annotated[ArtifactOrder, strawberry.argument(description="Order of the list.")]


@strawberry.input(one_of=True, description="Where the bytes of an artifact come from: exactly one of these.")
class ArtifactSource:
    file: strawberry.Maybe[str | None] = strawberry.field(
        description="Path of a file in the server's MLP_IMPORT_FOLDER, which is copied into its store."
    )
    text: strawberry.Maybe[str | None] = strawberry.field(
        description="The content itself, for what is small."
    )
    location: strawberry.Maybe[str | None] = strawberry.field(
        description="Address of bytes which stay where they are, like s3://bucket/key; the server never calls it."
    )


@strawberry.input(description="What is known of an artifact as data.")
class DatasetInput:
    format: str | None = optional("Format of the file, for example csv.")
    row_count: BigInt | None = optional("Number of rows.")
    column_count: int | None = optional("Number of columns.")
    schema: JSON | None = optional("Names and types of the columns: a list of objects.")


@strawberry.input(description="What is known of an artifact as a model.")
class ModelInput:
    model_type: str | None = optional("What it does, for example classification.")
    algorithm: str | None = optional("How it works, for example random forest.")
    framework: str | None = optional("What it was made with, for example scikit-learn.")
    model_format: str | None = optional("Format of the file, for example joblib.")
    training_dataset_id: strawberry.ID | None = optional("The dataset it was trained with.")
    training_config: JSON | None = optional("Settings of its training: an object.")
    metrics: JSON | None = optional("Name and value of each of its metrics: an object.")


@strawberry.input(description="An artifact to register.")
class RegisterArtifactInput:
    stage_run_id: strawberry.ID = strawberry.field(
        description="The stage run it belongs to, at work or over."
    )
    name: str = strawberry.field(
        description="Name of the artifact, unique among those registered with the stage run."
    )
    artifact_type: ArtifactType = strawberry.field(description="What it is.")
    source: ArtifactSource = strawberry.field(description="Where its bytes come from.")
    description: str | None = optional("What it is, in words.")
    artifact_metadata: JSON | None = optional("Whatever else is to be kept with it: an object.")
    dataset: DatasetInput | None = optional("What is known of it as data.")
    model: ModelInput | None = optional("What is known of it as a model.")


@strawberry.input(description="Changes of an artifact; what is left out stays as it is.")
class UpdateArtifactInput:
    artifact_id: strawberry.ID = strawberry.field(description="The artifact to change.")
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    artifact_metadata: strawberry.Maybe[JSON | None] = change(
        "The new object of whatever else is kept with it; null removes it.", removable=True
    )
    is_active: strawberry.Maybe[bool | None] = change(
        "False to withdraw it: its bytes can't be downloaded then."
    )
