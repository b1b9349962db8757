"""Reads of artifacts, datasets and models."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.artifacts.inputs import (
    ArtifactFilterArgument,
    ArtifactOrderArgument,
    DatasetFilterArgument,
    ModelFilterArgument,
)
from app.graphql.artifacts.types import Artifact, Dataset, Model
from app.graphql.shared.connections import Connection
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none, root_list


@strawberry.type(description="Reads of artifacts, datasets and models.")
class ArtifactQuery:
    artifacts: Connection[Artifact] = root_list(
        Artifact,
        selections.ARTIFACTS,
        "All artifacts of all runs.",
        where=ArtifactFilterArgument,
        order_by=ArtifactOrderArgument,
    )
    datasets: Connection[Dataset] = root_list(
        Dataset, selections.DATASETS, "All datasets, newest first.", where=DatasetFilterArgument
    )
    models: Connection[Model] = root_list(
        Model, selections.MODELS, "All models, newest first.", where=ModelFilterArgument
    )

    @strawberry.field(description="One artifact, or null.", metadata=reads_only())
    async def artifact(self, info: Info, node_id: NodeId) -> Artifact | None:
        return await node_or_none(info.context.loaders.artifact_by_id, node_id, "Artifact")
