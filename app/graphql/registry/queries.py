"""Queries of the model registry."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.domain.registry import name_problem
from app.graphql.registry.inputs import RegisteredModelFilterArgument, RegisteredModelOrderArgument
from app.graphql.registry.types import RegisteredModel
from app.graphql.shared.connections import Connection
from app.graphql.shared.info import Info
from app.graphql.shared.roots import root_list

Name = Annotated[str, strawberry.argument(description="Name of the registered model.")]


@strawberry.type(description="Reads of the model registry.")
class RegistryQuery:
    registered_models: Connection[RegisteredModel] = root_list(
        RegisteredModel,
        selections.REGISTERED_MODELS,
        "All registered models.",
        where=RegisteredModelFilterArgument,
        order_by=RegisteredModelOrderArgument,
    )

    @strawberry.field(
        description="The registered model of this name; null if there is none.", metadata=reads_only()
    )
    async def registered_model(self, info: Info, name: Name) -> RegisteredModel | None:
        if name_problem(name) is not None:
            return None
        return await info.context.loaders.registered_model_by_name.load(name)
