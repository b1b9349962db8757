"""Mutations that register models and move aliases."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.registry.inputs import (
    AliasInput,
    DeleteModelAliasInput,
    DeleteModelVersionInput,
    MoveModelAliasBackInput,
    ProtectModelAliasInput,
    RegisterModelVersionInput,
    SetModelAliasInput,
    UpdateRegisteredModelInput,
)
from app.graphql.registry.types import ModelVersion, RegisteredModel
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import changes_of, draft_of
from app.graphql.shared.payloads import INPUT, Payload, mutation, null_on_error
from app.graphql.shared.storability import storable
from app.services.registry import aliases, versions
from app.services.registry.aliases import AliasChange
from app.services.registry.versions import NewVersion

if TYPE_CHECKING:
    from app.graphql.context import Context

_CHANGED = "The registered model after the change"


@strawberry.type(description="Outcome of registerModelVersion.")
class RegisterModelVersionPayload(Payload):
    model_version: ModelVersion | None = null_on_error("The version of the model")


@strawberry.type(description="Outcome of updateRegisteredModel.")
class UpdateRegisteredModelPayload(Payload):
    registered_model: RegisteredModel | None = null_on_error(_CHANGED)


@strawberry.type(description="Outcome of deleteModelVersion.")
class DeleteModelVersionPayload(Payload):
    deleted_model_version_id: strawberry.ID | None = null_on_error("Global id of the deleted version")


@strawberry.type(description="Outcome of setModelAlias.")
class SetModelAliasPayload(Payload):
    registered_model: RegisteredModel | None = null_on_error(_CHANGED)


@strawberry.type(description="Outcome of moveModelAliasBack.")
class MoveModelAliasBackPayload(Payload):
    registered_model: RegisteredModel | None = null_on_error(_CHANGED)


@strawberry.type(description="Outcome of protectModelAlias.")
class ProtectModelAliasPayload(Payload):
    registered_model: RegisteredModel | None = null_on_error(_CHANGED)


@strawberry.type(description="Outcome of deleteModelAlias.")
class DeleteModelAliasPayload(Payload):
    registered_model: RegisteredModel | None = null_on_error(_CHANGED)


@strawberry.type(description="Changes of the model registry.")
class RegistryMutation:
    @mutation("Register a model as a version of a registered model, which is created if it does not exist.")
    async def register_model_version(
        self, info: Info, request: Annotated[RegisterModelVersionInput, INPUT]
    ) -> RegisterModelVersionPayload:
        context = info.context
        model_id = required_key(request.model_id, "Model", "modelId")
        draft = storable(draft_of(request))
        new = NewVersion(draft["name"], model_id, draft.get("note"), draft.get("createdBy"))
        version_id = await versions.register_version(context.engine, new)
        version = await context.fresh_loaders().model_version_by_id.load(version_id)
        return RegisterModelVersionPayload(model_version=version)

    @mutation("Change the description or the tags of a registered model.")
    async def update_registered_model(
        self, info: Info, request: Annotated[UpdateRegisteredModelInput, INPUT]
    ) -> UpdateRegisteredModelPayload:
        storable({"name": request.name})
        changes = storable(changes_of(request))
        key = await versions.update_registered_model(info.context.engine, request.name, changes)
        return UpdateRegisteredModelPayload(registered_model=await registered_model(info.context, key))

    @mutation("Delete a version that no alias points to. Its model and its run stay.")
    async def delete_model_version(
        self, info: Info, request: Annotated[DeleteModelVersionInput, INPUT]
    ) -> DeleteModelVersionPayload:
        storable({"name": request.name})
        key = await versions.delete_version(info.context.engine, request.name, request.version)
        info.context.forget_loaded()
        return DeleteModelVersionPayload(deleted_model_version_id=global_id("ModelVersion", key))

    @mutation(
        "Point an alias to a version, if it still points where the client saw it; otherwise the error is CONFLICT."
    )
    async def set_model_alias(
        self, info: Info, request: Annotated[SetModelAliasInput, INPUT]
    ) -> SetModelAliasPayload:
        key = await aliases.set_alias(info.context.engine, change_of(request), request.version)
        return SetModelAliasPayload(registered_model=await registered_model(info.context, key))

    @mutation(
        "Point an alias to the version before its present one. Each repetition leads one version further back."
    )
    async def move_model_alias_back(
        self, info: Info, request: Annotated[MoveModelAliasBackInput, INPUT]
    ) -> MoveModelAliasBackPayload:
        key = await aliases.move_alias_back(info.context.engine, change_of(request))
        return MoveModelAliasBackPayload(registered_model=await registered_model(info.context, key))

    @mutation(
        "Protect an alias, or end its protection. A protected alias can't be removed or moved by a stage."
    )
    async def protect_model_alias(
        self, info: Info, request: Annotated[ProtectModelAliasInput, INPUT]
    ) -> ProtectModelAliasPayload:
        change, wanted = change_of(request), request.is_protected
        key = await aliases.protect_alias(info.context.engine, change, is_protected=wanted)
        return ProtectModelAliasPayload(registered_model=await registered_model(info.context, key))

    @mutation("Remove an alias that is not protected. Its version stays.")
    async def delete_model_alias(
        self, info: Info, request: Annotated[DeleteModelAliasInput, INPUT]
    ) -> DeleteModelAliasPayload:
        key = await aliases.delete_alias(info.context.engine, change_of(request))
        return DeleteModelAliasPayload(registered_model=await registered_model(info.context, key))


def change_of(request: AliasInput) -> AliasChange:
    draft = storable(draft_of(request))
    return AliasChange(
        name=draft["name"],
        alias=draft["alias"],
        expected_version=draft.get("expectedVersion"),
        reason=draft.get("reason"),
        actor=draft.get("actor"),
    )


async def registered_model(context: Context, key: uuid.UUID) -> RegisteredModel | None:
    """The registered model as it is now."""
    return await context.fresh_loaders().registered_model_by_id.load(key)
