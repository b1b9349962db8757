"""Mutations that register artifacts and change what is stored about them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.domain.artifacts import DatasetFacts, ModelFacts
from app.errors import DomainError
from app.graphql.artifacts.inputs import RegisterArtifactInput, UpdateArtifactInput
from app.graphql.artifacts.types import Artifact
from app.graphql.shared.enums import ArtifactType
from app.graphql.shared.ids import required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.services import artifacts
from app.services.artifacts import Content, Registration
from app.services.checks import check_all

if TYPE_CHECKING:
    from app.graphql.context import Context

COPY_SECONDS = 600.0
"""Time for copying a file of the import folder into the store."""


@strawberry.type(description="Outcome of registerArtifact.")
class RegisterArtifactPayload(Payload):
    artifact: Artifact | None = null_on_error("The new artifact")


@strawberry.type(description="Outcome of updateArtifact.")
class UpdateArtifactPayload(Payload):
    artifact: Artifact | None = null_on_error("The artifact after the change")


@strawberry.type(description="Changes of artifacts.")
class ArtifactMutation:
    @mutation(
        "Add an artifact to a stage run: a file, a text, or the address of bytes stored elsewhere. It is no input of "
        "later stages."
    )
    async def register_artifact(
        self, info: Info, request: Annotated[RegisterArtifactInput, INPUT]
    ) -> RegisterArtifactPayload:
        context = info.context
        registration = registration_of(request)
        check_all(partial(artifacts.check_registration, registration), partial(address_of, request))
        content = address_of(request) or await stored_content(context, request)
        artifact_id = await artifacts.register_artifact(
            context.engine, context.notifier, registration, content
        )
        return RegisterArtifactPayload(
            artifact=await context.fresh_loaders().artifact_by_id.load(artifact_id)
        )

    @mutation("Change the description or metadata of an artifact, or withdraw it.")
    async def update_artifact(
        self, info: Info, request: Annotated[UpdateArtifactInput, INPUT]
    ) -> UpdateArtifactPayload:
        context = info.context
        artifact_id = required_key(request.artifact_id, "Artifact", "artifactId")
        changes = storable(changes_of(request))
        await artifacts.update_artifact(context.engine, artifact_id, changes)
        return UpdateArtifactPayload(artifact=await context.fresh_loaders().artifact_by_id.load(artifact_id))


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
    """The content at an address elsewhere; ``None`` if the server stores the bytes."""
    location = changes_of(request.source).get("location")
    if location is None:
        return None
    with about_source("location"):
        return artifacts.external_content(location)


async def stored_content(context: Context, request: RegisterArtifactInput) -> Content:
    ((kind, value),) = changes_of(request.source).items()
    with about_source(kind):
        if kind == "file":
            context.allow_more_time(COPY_SECONDS)
            return await artifacts.stored_file(context.imports, value)
        return await artifacts.stored_text(context.imports, value, request.name)


@contextlib.contextmanager
def about_source(kind: str) -> Iterator[None]:
    """Gives problems of the content the path of this field of ``source``."""
    try:
        yield
    except DomainError as error:
        raise DomainError(error.message, path=("source", kind), code=error.code) from error
