"""The model registry: registered models, their versions and aliases, and the history of the aliases."""

from __future__ import annotations

import datetime as dt
import uuid

import strawberry
from strawberry import relay

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.database.reads.pages import HIGHEST_VERSION_FIRST, LATEST_MOVE_FIRST
from app.graphql.shared.connections import NESTED_PAGE, NOT_GIVEN, After, Connection, First, window_of
from app.graphql.shared.enums import AliasMoveKind
from app.graphql.shared.info import Info
from app.graphql.shared.links import ModelLink


@strawberry.type(description="A named model: a list of versions, and aliases that point to some of them.")
class RegisteredModel(relay.Node):
    id: relay.NodeID[uuid.UUID]
    name: str = strawberry.field(description="Name of the registered model, unique on this server.")
    description: str | None = strawberry.field(description="What the model is for.")
    tags: list[str] | None = strawberry.field(description="Labels of the registered model.")
    created_at: dt.datetime = strawberry.field(description="When its first version was registered.")
    updated_at: dt.datetime = strawberry.field(
        description="When it, its list of versions or one of its aliases last changed."
    )

    @strawberry.field(description="Its versions, highest number first.", metadata=reads_only())
    def versions(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ModelVersion]:
        window = window_of(first, after, order=HIGHEST_VERSION_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.versions_by_registered_model(window).load(self.id))

    @strawberry.field(description="Its aliases, by name; at most 100.", metadata=reads_only())
    def aliases(self, info: Info) -> list[ModelAlias]:
        return unawaited(info.context.loaders.aliases_by_registered_model.load(self.id))

    @strawberry.field(
        description="Every change of its aliases, latest first.",
        metadata=reads_only(),
    )
    def history(
        self, info: Info, first: First = NESTED_PAGE, after: After = NOT_GIVEN
    ) -> Connection[ModelAliasMove]:
        window = window_of(first, after, order=LATEST_MOVE_FIRST, default=NESTED_PAGE)
        return unawaited(info.context.loaders.moves_by_registered_model(window).load(self.id))


@strawberry.type(
    description="A version of a registered model. It refers to a model, whose run can't be deleted before the version."
)
class ModelVersion(relay.Node):
    id: relay.NodeID[uuid.UUID]
    registered_model_key: strawberry.Private[uuid.UUID]
    model_key: strawberry.Private[uuid.UUID]
    version: int = strawberry.field(
        description="Its number: 1 for the first version. No number is used twice."
    )
    created_by: str | None = strawberry.field(
        description="Who registered it: a name that the client gave, API, or `run` and the id of the run."
    )
    note: str | None = strawberry.field(description="A note, by the client that registered it.")
    created_at: dt.datetime = strawberry.field(description="When it was registered.")

    @strawberry.field(
        description="The model, with its metrics, training dataset and artifact.", metadata=reads_only()
    )
    def model(self, info: Info) -> ModelLink:
        return unawaited(info.context.loaders.model_by_id.require(self.model_key))

    @strawberry.field(description="The registered model it is a version of.", metadata=reads_only())
    def registered_model(self, info: Info) -> RegisteredModel:
        return unawaited(info.context.loaders.registered_model_by_id.require(self.registered_model_key))

    @strawberry.field(description="The aliases that point to it, by name.", metadata=reads_only())
    async def aliases(self, info: Info) -> list[ModelAlias]:
        aliases = await info.context.loaders.aliases_by_registered_model.load(self.registered_model_key)
        return [alias for alias in aliases if alias.version_key == self.id]

    @strawberry.field(
        description="Path of its bytes on this server. The request fails with 404 if they are stored elsewhere or "
        "withdrawn.",
        metadata=reads_only("version"),
    )
    async def download_url(self, info: Info) -> str:
        name = await info.context.loaders.name_by_registered_model.load(self.registered_model_key)
        return f"/models/{name}/{self.version}/content"


@strawberry.type(description="A name for one version of a registered model, for example champion.")
class ModelAlias:
    registered_model_key: strawberry.Private[uuid.UUID]
    version_key: strawberry.Private[uuid.UUID]
    alias: str = strawberry.field(description="The alias, unique in its registered model.")
    version: int = strawberry.field(description="Number of the version it points to.")
    is_protected: bool = strawberry.field(
        description="True if it can't be removed and no stage can move it; `setModelAlias` still can."
    )
    created_at: dt.datetime = strawberry.field(description="When the alias was created.")
    updated_at: dt.datetime = strawberry.field(
        description="When it was last moved, protected or no longer protected."
    )

    @strawberry.field(description="The version it points to.", metadata=reads_only())
    def model_version(self, info: Info) -> ModelVersion:
        return unawaited(info.context.loaders.model_version_by_id.require(self.version_key))

    @strawberry.field(
        description="Path on this server that always leads to the bytes of the version it points to at that moment.",
        metadata=reads_only("alias"),
    )
    async def download_url(self, info: Info) -> str:
        name = await info.context.loaders.name_by_registered_model.load(self.registered_model_key)
        return f"/models/{name}@{self.alias}/content"


@strawberry.type(description="A change of an alias. The history is never rewritten.")
class ModelAliasMove:
    id: strawberry.Private[uuid.UUID]
    registered_model_key: strawberry.Private[uuid.UUID]
    seq: int = strawberry.field(
        description="Its number in the history of the registered model, from 1, without gaps."
    )
    alias: str = strawberry.field(description="The alias that changed.")
    kind: AliasMoveKind = strawberry.field(description="What happened to it.")
    from_version: int | None = strawberry.field(
        description="The version it pointed to before; null if there was no such alias."
    )
    to_version: int | None = strawberry.field(
        description="The version it points to since; null if it was removed."
    )
    is_protected: bool = strawberry.field(description="Whether it is protected since.")
    actor: str | None = strawberry.field(
        description="Who changed it: a name that the client gave, API, or `run` and the id of the run."
    )
    reason: str | None = strawberry.field(description="The reason that was given.")
    at: dt.datetime = strawberry.field(description="When it changed.")
