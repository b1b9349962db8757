"""Registering artifacts which no stage left behind, and saying more about any."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from app.domain.artifacts import DatasetFacts, ModelFacts
from app.errors import DomainError
from app.graphql.context import Context
from app.graphql.enums import ArtifactType
from app.graphql.errors import UserError
from app.graphql.ids import required_key
from app.graphql.info import Info
from app.graphql.inputs import change, changes_of, draft_of, optional
from app.graphql.payloads import INPUT, expected_errors, no_errors, none_of, storable
from app.graphql.scalars import BigInt
from app.graphql.types.artifact import Artifact
from app.services import registration
from app.services.checks import check_all
from app.services.registration import Content, Registration

COPY_SECONDS = 600.0


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


@strawberry.type(description="Outcome of registerArtifact.")
class RegisterArtifactPayload:
    artifact: Artifact | None = none_of("The new artifact")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Outcome of updateArtifact.")
class UpdateArtifactPayload:
    artifact: Artifact | None = none_of("The artifact as it is now")
    errors: list[UserError] = no_errors()


@strawberry.type(description="Changes of artifacts.")
class ArtifactMutation:
    @strawberry.mutation(
        description="Add an artifact to a stage run: a file, a text, or the address of bytes kept elsewhere. Later "
        "stages don't find it among their inputs."
    )
    @expected_errors
    async def register_artifact(
        self, info: Info, request: Annotated[RegisterArtifactInput, INPUT]
    ) -> RegisterArtifactPayload:
        context = info.context
        said = registration_of(request)
        check_all(partial(registration.check_registration, said), partial(address_of, request))
        content = address_of(request) or await stored_content(context, request)
        artifact_id = await registration.register_artifact(context.engine, context.broker, said, content)
        return RegisterArtifactPayload(artifact=await artifact_now(context, artifact_id))

    @strawberry.mutation(description="Say more about an artifact, or withdraw it.")
    @expected_errors
    async def update_artifact(
        self, info: Info, request: Annotated[UpdateArtifactInput, INPUT]
    ) -> UpdateArtifactPayload:
        context = info.context
        artifact_id = required_key(request.artifact_id, "Artifact", "artifactId")
        changes = storable(changes_of(request))
        await registration.update_artifact(context.engine, artifact_id, changes)
        return UpdateArtifactPayload(artifact=await artifact_now(context, artifact_id))


def registration_of(request: RegisterArtifactInput) -> Registration:
    draft = storable(draft_of(request))
    dataset, model = draft.get("dataset"), draft.get("model")
    training = model and model.get("trainingDatasetId")
    return Registration(
        stage_run_id=required_key(request.stage_run_id, "StageRun", "stageRunId"),
        name=request.name,
        artifact_type=ArtifactType(draft["artifactType"]),
        description=draft.get("description"),
        metadata=draft.get("artifactMetadata"),
        dataset=None if dataset is None else dataset_facts(dataset),
        model=None if model is None else model_facts(model),
        training_dataset_id=(
            required_key(training, "Dataset", "model", "trainingDatasetId") if training else None
        ),
    )


def dataset_facts(draft: dict[str, Any]) -> DatasetFacts:
    return DatasetFacts(
        format=draft.get("format"),
        row_count=draft.get("rowCount"),
        column_count=draft.get("columnCount"),
        schema=draft.get("schema"),
    )


def model_facts(draft: dict[str, Any]) -> ModelFacts:
    return ModelFacts(
        model_type=draft.get("modelType"),
        algorithm=draft.get("algorithm"),
        framework=draft.get("framework"),
        format=draft.get("modelFormat"),
        training_config=draft.get("trainingConfig"),
        metrics=draft.get("metrics"),
    )


def address_of(request: RegisterArtifactInput) -> Content | None:
    """Where the bytes are kept, unless they are to be stored."""
    location = changes_of(request.source).get("location")
    if location is None:
        return None
    with about_source("location"):
        return registration.kept_elsewhere(location)


async def stored_content(context: Context, request: RegisterArtifactInput) -> Content:
    ((kind, value),) = changes_of(request.source).items()
    with about_source(kind):
        if kind == "file":
            context.allow_more_time(COPY_SECONDS)
            return await registration.stored_file(context.imports, value)
        return await registration.stored_text(context.imports, value, request.name)


@contextlib.contextmanager
def about_source(kind: str) -> Iterator[None]:
    """A problem is told of that field of the source."""
    try:
        yield
    except DomainError as error:
        raise DomainError(error.message, path=("source", kind), code=error.code) from error


async def artifact_now(context: Context, artifact_id: uuid.UUID) -> Artifact | None:
    context.forget_loaded()
    return await context.loaders.artifact_by_id.load(artifact_id)
