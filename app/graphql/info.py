"""The type of every resolver's ``info``. Strawberry needs it at run time, where types can't import the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import strawberry

if TYPE_CHECKING:
    from app.graphql.context import Context
    from app.graphql.place import Place

    Info: TypeAlias = strawberry.Info[Context, Place | None]
else:
    Info = strawberry.Info
