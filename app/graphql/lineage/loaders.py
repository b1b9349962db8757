"""Loads lineages: one statement for all starts of a level, and each direction."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence

from app.compiled_graphql.batching import DataLoader
from app.database.reads.lineage import Side, Start, lineage_of, lineage_parameters
from app.domain.lineage import Lineage as Found
from app.domain.lineage import MetArtifact, MetStageRun, downstream, joined, of_reused, upstream
from app.graphql.lineage.types import Lineage, LineageDirection, check_size
from app.graphql.shared.loading import LoaderFactory
from app.graphql.shared.rows import Rows


class LineageLoaders(LoaderFactory):
    """Loads lineages."""

    def lineage_by(
        self, start: Start, direction: LineageDirection, depth: int, first: int
    ) -> DataLoader[uuid.UUID, Lineage]:
        """The lineage of artifacts or stage runs; raises ``DomainError`` for a size out of bounds."""
        check_size(depth, first)
        sides = [side for side in Side if direction in (LineageDirection.BOTH, side.name)]

        async def load(keys: list[uuid.UUID]) -> list[Lineage]:
            parts = await asyncio.gather(*(self._side(start, side, keys, depth, first) for side in sides))
            return [Lineage.of(joined(lineages, first)) for lineages in zip(*parts, strict=True)]

        return self._with(("lineage", start, direction, depth, first), lambda: DataLoader(load))

    async def _side(
        self, start: Start, side: Side, keys: list[uuid.UUID], depth: int, first: int
    ) -> list[Found]:
        statement = lineage_of(start, side)
        rows: defaultdict[uuid.UUID, list[Rows]] = defaultdict(list)
        for key, *row in await self._reader.rows(statement, lineage_parameters(keys, depth, first)):
            rows[key].append(row)
        return [_found(start, side, key, rows[key], first) for key in keys]


def _found(start: Start, side: Side, key: uuid.UUID, rows: Sequence[Rows], first: int) -> Found:
    met: dict[uuid.UUID, MetStageRun] = {}
    for stage_run, depth, sources, artifact, is_output, trained_on, _ in rows:
        found = met.setdefault(stage_run, MetStageRun(stage_run, depth, sources))
        if artifact is not None:
            found.artifacts.append(MetArtifact(artifact, is_output, trained_on))
    is_cut = bool(rows and rows[0][-1]) or len(rows) > 2 * first
    artifact = key if start is Start.ARTIFACT else None
    follow = upstream if side is Side.UPSTREAM else downstream
    lineage = follow(list(met.values()), artifact, first, is_cut=is_cut)
    if start is Start.STAGE_RUN and key not in met and met:
        return of_reused(lineage, key, next(iter(met)))
    return lineage
