"""Reads of artifacts, data sets and models."""

from __future__ import annotations

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.graphql.artifacts.inputs import (
    ArtifactFilterArgument,
    ArtifactOrder,
    ArtifactOrderArgument,
    DatasetFilterArgument,
    ModelFilterArgument,
)
from app.graphql.artifacts.types import Artifact, Dataset, Model
from app.graphql.shared.connections import (
    NOT_GIVEN,
    After,
    Before,
    Connection,
    FirstOfRoot,
    Last,
    window_of,
)
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import sort_of
from app.graphql.shared.roots import NodeId, conditions_of, node_or_none, root_page


@strawberry.type(description="Reads of artifacts, data sets and models.")
class ArtifactQuery:
    @strawberry.field(description="All artifacts of all runs.", metadata=reads_only())
    async def artifacts(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: ArtifactFilterArgument = NOT_GIVEN,
        order_by: ArtifactOrderArgument = ArtifactOrder.CREATED_AT_DESC,
    ) -> Connection[Artifact]:
        window = window_of(first, after, last, before, order=sort_of(order_by))
        conditions = conditions_of(where)
        return await root_page(info.context, Artifact, selections.ARTIFACTS, window, conditions)

    @strawberry.field(description="One artifact, or null.", metadata=reads_only())
    async def artifact(self, info: Info, node_id: NodeId) -> Artifact | None:
        return await node_or_none(info.context.loaders.artifact_by_id, node_id, "Artifact")

    @strawberry.field(description="All datasets, newest first.", metadata=reads_only())
    async def datasets(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: DatasetFilterArgument = NOT_GIVEN,
    ) -> Connection[Dataset]:
        window = window_of(first, after, last, before)
        return await root_page(info.context, Dataset, selections.DATASETS, window, conditions_of(where))

    @strawberry.field(description="All models, newest first.", metadata=reads_only())
    async def models(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: ModelFilterArgument = NOT_GIVEN,
    ) -> Connection[Model]:
        window = window_of(first, after, last, before)
        return await root_page(info.context, Model, selections.MODELS, window, conditions_of(where))
