"""Artifacts, and the details of those that are datasets or models."""

from __future__ import annotations

import datetime as dt
import uuid

import strawberry
from strawberry import relay
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.database.reads.lineage import Start
from app.graphql.lineage.types import Lineage, lineage_field
from app.graphql.shared.connections import NESTED_PAGE, NOT_GIVEN, After, Connection, First, window_of
from app.graphql.shared.enums import ArtifactStatus, ArtifactType, StorageType
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import ModelVersionLink, RunLink, StageLink, StageRunLink
from app.graphql.shared.scalars import BigInt


@strawberry.type(description="A file that a stage made, or that a client registered with a stage run.")
class Artifact(relay.Node):
    id: relay.NodeID[uuid.UUID]
    stage_key: strawberry.Private[uuid.UUID]
    stage_run_key: strawberry.Private[uuid.UUID]
    name: str = strawberry.field(description="Name of the artifact.")
    description: str | None = strawberry.field(description="A description, by the stage or by a client.")
    artifact_type: ArtifactType = strawberry.field(description="The kind of artifact.")
    status: ArtifactStatus = strawberry.field(description="Whether its bytes can be read.")
    file_path: str = strawberry.field(
        description="Key of its bytes in the artifact store, or their address elsewhere."
    )
    file_name: str = strawberry.field(description="Name of the file, without folders.")
    file_size: BigInt | None = strawberry.field(
        description="Size in bytes; null if its bytes are stored elsewhere."
    )
    storage_type: StorageType = strawberry.field(description="The kind of storage that holds its bytes.")
    storage_config: JSON | None = strawberry.field(
        description="Details of that storage; it never contains secrets."
    )
    artifact_metadata: JSON | None = strawberry.field(
        description="Anything else that the stage or a client stored with it."
    )
    is_active: bool = strawberry.field(
        description="False after `updateArtifact` withdrew it: its bytes can't be downloaded then."
    )
    relative_path: str = strawberry.field(
        description="Path in the output folder of the stage; the name if a client registered it."
    )
    attempt_number: int = strawberry.field(
        description="Number of the attempt that made it; 0 if a client registered it."
    )
    sha256: str | None = strawberry.field(
        description="SHA-256 of its bytes in hexadecimal digits; null if they are stored elsewhere."
    )
    media_type: str | None = strawberry.field(
        description="Media type, for example image/png; null if it is not known."
    )
    created_at: dt.datetime = strawberry.field(description="When it was stored.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(description="Global id of the stage it belongs to.", metadata=reads_only())
    def stage_id(self) -> strawberry.ID:
        return global_id("Stage", self.stage_key)

    @strawberry.field(description="Global id of the stage run it belongs to.", metadata=reads_only())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="The stage it belongs to.", metadata=reads_only())
    def stage(self, info: Info) -> StageLink:
        return unawaited(info.context.loaders.stage_by_id.require(self.stage_key))

    @strawberry.field(description="The stage run it belongs to.", metadata=reads_only())
    def stage_run(self, info: Info) -> StageRunLink:
        return unawaited(info.context.loaders.stage_run_by_id.require(self.stage_run_key))

    @strawberry.field(description="The run it belongs to.", metadata=reads_only())
    async def run(self, info: Info) -> RunLink:
        loaders = info.context.loaders
        stage_run = await loaders.stage_run_by_id.require(self.stage_run_key)
        return await loaders.run_by_id.require(stage_run.pipeline_run_key)

    @strawberry.field(description="Its details as a dataset; null if it is none.", metadata=reads_only())
    def dataset(self, info: Info) -> Dataset | None:
        return unawaited(info.context.loaders.dataset_by_artifact.load(self.id))

    @strawberry.field(description="Its details as a model; null if it is none.", metadata=reads_only())
    def model(self, info: Info) -> Model | None:
        return unawaited(info.context.loaders.model_by_artifact.load(self.id))

    @strawberry.field(
        description="Path of its bytes on this server; null unless `status` is READY, `isActive` is true and "
        "this server stores them.",
        metadata=reads_only("status", "is_active", "sha256"),
    )
    def download_url(self) -> str | None:
        readable = self.status is ArtifactStatus.READY and self.is_active and self.sha256 is not None
        return f"/artifacts/{self.id}/content" if readable else None

    @strawberry.field(
        description="Other artifacts with the same bytes, of any run, newest first.", metadata=reads_only()
    )
    def same_content(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[Artifact]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.artifacts_by_content_of(window).load(self.id))

    lineage: Lineage = lineage_field(
        "What the artifact was made from and what was made of it.", Start.ARTIFACT, "id"
    )


@strawberry.type(description="The details of an artifact that is a dataset.")
class Dataset(relay.Node):
    id: relay.NodeID[uuid.UUID]
    artifact_key: strawberry.Private[uuid.UUID]
    format: str = strawberry.field(description="Format of the file, for example csv.")
    row_count: BigInt | None = strawberry.field(description="Number of rows; null if it is not known.")
    column_count: int | None = strawberry.field(description="Number of columns; null if it is not known.")
    schema: JSON | None = strawberry.field(
        description="The columns, in their order: a list of objects with `name` and, if known, `type`."
    )
    created_at: dt.datetime = strawberry.field(description="When it was stored.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(description="Global id of the artifact.", metadata=reads_only())
    def artifact_id(self) -> strawberry.ID:
        return global_id("Artifact", self.artifact_key)

    @strawberry.field(description="The artifact with the data.", metadata=reads_only())
    def artifact(self, info: Info) -> Artifact:
        return unawaited(info.context.loaders.artifact_by_id.require(self.artifact_key))

    @strawberry.field(description="The models trained with it, newest first.", metadata=reads_only())
    def trained_models(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[Model]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.models_by_dataset(window).load(self.id))

    lineage: Lineage = lineage_field(
        "What the dataset was made from and what was made of it.", Start.ARTIFACT, "artifact_key"
    )


@strawberry.type(description="The details of an artifact that is a model.")
class Model(relay.Node):
    id: relay.NodeID[uuid.UUID]
    artifact_key: strawberry.Private[uuid.UUID]
    training_dataset_key: strawberry.Private[uuid.UUID | None]
    model_type: str = strawberry.field(description="Its task, for example classification.")
    algorithm: str = strawberry.field(description="Its algorithm, for example random forest.")
    framework: str = strawberry.field(description="The library it was made with, for example scikit-learn.")
    model_format: str = strawberry.field(description="Format of the file, for example joblib.")
    training_config: JSON | None = strawberry.field(description="Settings of its training.")
    metrics: JSON | None = strawberry.field(description="Its metrics by name.")
    created_at: dt.datetime = strawberry.field(description="When it was stored.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed.")

    @strawberry.field(description="Global id of the artifact.", metadata=reads_only())
    def artifact_id(self) -> strawberry.ID:
        return global_id("Artifact", self.artifact_key)

    @strawberry.field(
        description="Global id of the dataset it was trained with; null if it is not known.",
        metadata=reads_only(),
    )
    def training_dataset_id(self) -> strawberry.ID | None:
        key = self.training_dataset_key
        return None if key is None else global_id("Dataset", key)

    @strawberry.field(description="The artifact with the model.", metadata=reads_only())
    def artifact(self, info: Info) -> Artifact:
        return unawaited(info.context.loaders.artifact_by_id.require(self.artifact_key))

    @strawberry.field(
        description="The dataset it was trained with; null if it is not known.", metadata=reads_only()
    )
    def training_dataset(self, info: Info) -> Dataset | None:
        if self.training_dataset_key is None:
            return None
        return unawaited(info.context.loaders.dataset_by_id.load(self.training_dataset_key))

    @strawberry.field(
        description="The versions that refer to it, one for each name it is registered under, newest first.",
        metadata=reads_only(),
    )
    def versions(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ModelVersionLink]:
        window = window_of(first, after, default=NESTED_PAGE)
        return unawaited(info.context.loaders.versions_by_model(window).load(self.id))

    lineage: Lineage = lineage_field(
        "What the model was made from and what was made of it.", Start.ARTIFACT, "artifact_key"
    )
