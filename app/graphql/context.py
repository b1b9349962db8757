"""The context of one operation, with the loaders of all nouns."""

from __future__ import annotations

from app.graphql.loaders import Loaders
from app.graphql.shared.context import OperationContext


class Context(OperationContext):
    """What resolvers may use."""

    loaders: Loaders

    def new_loaders(self) -> Loaders:
        return Loaders(self.reader)
