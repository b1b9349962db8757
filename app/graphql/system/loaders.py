"""Loads workers and the capacity of the installation."""

from __future__ import annotations

from functools import cached_property

from app.compiled_graphql.batching import DataLoader
from app.database.reads import selections
from app.database.reads.workers import capacity
from app.domain.explanations import Capacity
from app.graphql.shared.loading import LoaderFactory, NodeLoader
from app.graphql.system.types import Worker


class SystemLoaders(LoaderFactory):
    """Loads workers and the capacity of the installation."""

    @cached_property
    def worker_by_id(self) -> NodeLoader[Worker]:
        return self._node(Worker, selections.WORKERS, "id")

    @cached_property
    def capacity(self) -> DataLoader[None, Capacity]:
        """Its only key is ``None``, because the answer is the same for all fields."""

        async def load(keys: list[None]) -> list[Capacity]:
            [row] = await self._reader.rows(capacity())
            return [Capacity(*row) for _ in keys]

        return DataLoader(load)
