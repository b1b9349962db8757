"""Filter, order and inputs of mutations for the model registry."""

from __future__ import annotations

import enum
from typing import Annotated

import strawberry

from app.database.tables import registered_models
from app.graphql.shared.enums import describe
from app.graphql.shared.filters import Filter, filter_argument, filter_field
from app.graphql.shared.inputs import change, optional
from app.graphql.shared.orders import BY_TIME_OR_NAME, ORDER

_NAME = "Name of the registered model."
_ALLOWED = "It consists of letters and digits (A-Z, a-z, 0-9) and, after the first one, also of . _ -"


class RegisteredModelOrder(enum.StrEnum):
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


describe(RegisteredModelOrder, "Order of a list of registered models.", BY_TIME_OR_NAME)


RegisteredModelOrderArgument = Annotated[RegisteredModelOrder, ORDER]


@strawberry.input(description="Narrows a list of registered models; every field that is given must hold.")
class RegisteredModelFilter(Filter):
    name: str | None = filter_field(
        "The name contains this text, in any case.",
        lambda text: registered_models.c.name.icontains(text, autoescape=True),
    )


RegisteredModelFilterArgument = Annotated[RegisteredModelFilter | None, filter_argument("registered models")]


@strawberry.input(description="A model to register as a version.")
class RegisterModelVersionInput:
    name: str = strawberry.field(
        description=f"Name of the registered model; it is created if it does not exist. {_ALLOWED}"
    )
    model_id: strawberry.ID = strawberry.field(
        description="Global id of the model. If it is a version already, that version stays as it is."
    )
    note: str | None = optional("A note on the version, for people.")
    created_by: str | None = optional("Name of the person or program that registers it. API when left out.")


@strawberry.input(description="Changes of a registered model; fields that are left out stay as they are.")
class UpdateRegisteredModelInput:
    name: str = strawberry.field(description=_NAME)
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    tags: strawberry.Maybe[list[str] | None] = change("New labels; null removes them.", removable=True)


@strawberry.input(description="The version to delete.")
class DeleteModelVersionInput:
    name: str = strawberry.field(description=_NAME)
    version: int = strawberry.field(description="Number of the version to delete; no alias may point to it.")


@strawberry.input(description="An alias to change.")
class AliasInput:
    """Base class of the inputs that change an alias."""

    name: str = strawberry.field(description=_NAME)
    alias: str = strawberry.field(
        description=f"The alias. {_ALLOWED}; it must not look like a version, for example 3 or v3."
    )
    reason: str | None = optional("The reason, for people; stored in the history.")
    actor: str | None = optional(
        "Name of the person or program that changes it; stored in the history. API when left out."
    )


_EXPECTED = "Number of the version that the alias points to now; if it points elsewhere, nothing changes."


@strawberry.input(description="An alias to set.")
class SetModelAliasInput(AliasInput):
    version: int = strawberry.field(description="Number of the version that the alias is to point to.")
    expected_version: int | None = optional(
        "Number of the version that the alias points to now; if it points elsewhere, nothing changes. Leave it out "
        "to create the alias."
    )


@strawberry.input(description="An alias to move back to the version before.")
class MoveModelAliasBackInput(AliasInput):
    expected_version: int = strawberry.field(description=_EXPECTED)


@strawberry.input(description="An alias to protect, or to protect no longer.")
class ProtectModelAliasInput(AliasInput):
    expected_version: int = strawberry.field(description=_EXPECTED)
    is_protected: bool = strawberry.field(
        default=True, description="True protects the alias, false ends its protection."
    )


@strawberry.input(description="An alias to remove; its version stays.")
class DeleteModelAliasInput(AliasInput):
    expected_version: int = strawberry.field(description=_EXPECTED)
