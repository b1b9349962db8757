"""The type of every resolver's ``info``. Strawberry needs it at run time, where types can't import the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import strawberry

if TYPE_CHECKING:
    from app.graphql.context import Context
    from app.graphql.shared.positions import Position

    Info: TypeAlias = strawberry.Info[Context, Position | None]
else:
    Info = strawberry.Info
