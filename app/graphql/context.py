"""The context of one operation, with the loaders of all nouns."""

from __future__ import annotations

from app.graphql.loaders import Loaders
from app.graphql.shared.context import OperationContext


class Context(OperationContext):
    """What resolvers may use, with the loaders of all nouns."""

    loaders: Loaders

    def new_loaders(self) -> Loaders:
        return Loaders(self.reader)

    def fresh_loaders(self) -> Loaders:
        """Loaders that load everything anew: a mutation has changed rows."""
        self.forget_loaded()
        return self.loaders
