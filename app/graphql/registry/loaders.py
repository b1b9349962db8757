"""Loads registered models, their versions and aliases."""

from __future__ import annotations

import uuid
from functools import cached_property

from app.compiled_graphql.batching import DataLoader
from app.database.reads import selections
from app.database.reads.pages import Window
from app.database.reads.registry import names_of_registered_models, registered_models_by_name
from app.database.reads.selections import KEYS
from app.database.tables import model_alias_moves, model_versions
from app.graphql.registry.types import ModelAlias, ModelAliasMove, ModelVersion, RegisteredModel
from app.graphql.shared.loading import ListLoader, LoaderFactory, NodeLoader, PageLoader
from app.graphql.shared.rows import instances


class RegistryLoaders(LoaderFactory):
    """Loads registered models, their versions and aliases."""

    @cached_property
    def registered_model_by_id(self) -> NodeLoader[RegisteredModel]:
        return self._node(RegisteredModel, selections.REGISTERED_MODELS, "id")

    @cached_property
    def registered_model_by_name(self) -> DataLoader[str, RegisteredModel | None]:
        wanted = self._reader.narrowed(RegisteredModel, selections.REGISTERED_MODELS).with_columns(("name",))

        async def load(names: list[str]) -> list[RegisteredModel | None]:
            rows = await self._reader.rows(registered_models_by_name(wanted), {KEYS: names})
            found = {node.name: node for node in instances(RegisteredModel, wanted, rows)}
            return [found.get(name) for name in names]

        return DataLoader(load)

    @cached_property
    def name_by_registered_model(self) -> DataLoader[uuid.UUID, str]:
        return self._value(names_of_registered_models(), "")

    @cached_property
    def model_version_by_id(self) -> NodeLoader[ModelVersion]:
        return self._node(ModelVersion, selections.MODEL_VERSIONS, "id")

    def versions_by_registered_model(self, window: Window) -> PageLoader[ModelVersion]:
        name, parent = ("versions", window), model_versions.c.registered_model_id
        return self._page(ModelVersion, selections.MODEL_VERSIONS, parent, window, name)

    def versions_by_model(self, window: Window) -> PageLoader[ModelVersion]:
        name, parent = ("versions of models", window), model_versions.c.model_id
        return self._page(ModelVersion, selections.MODEL_VERSIONS, parent, window, name)

    @cached_property
    def aliases_by_registered_model(self) -> ListLoader[ModelAlias]:
        return self._children(ModelAlias, selections.MODEL_ALIASES, "registered_model_id", "alias")

    def moves_by_registered_model(self, window: Window) -> PageLoader[ModelAliasMove]:
        name, parent = ("moves", window), model_alias_moves.c.registered_model_id
        return self._page(ModelAliasMove, selections.MODEL_ALIAS_MOVES, parent, window, name)
