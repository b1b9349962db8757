"""A lineage as a graph of stage runs and artifacts, made from the stage runs that a walk has met."""

from __future__ import annotations

import enum
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeAlias
from uuid import UUID

MAX_DEPTH = 20
"""The most stage runs away from the start."""

EDGES_PER_NODE = 10
"""At most as many edges as this for each node: a stage of many outputs with many readers has their product."""


class LineageEdgeKind(enum.StrEnum):
    """How data went from one node to the next."""

    WROTE = "WROTE"
    READ = "READ"
    TRAINED_ON = "TRAINED_ON"
    REUSED = "REUSED"


class Node(NamedTuple):
    """A stage run or an artifact; ``depth`` counts the stage runs between it and the start."""

    key: UUID
    is_artifact: bool
    depth: int


class Edge(NamedTuple):
    """Data went from ``source`` to ``target``, whose keys are those of nodes."""

    source: UUID
    target: UUID
    kind: LineageEdgeKind


@dataclass(frozen=True)
class MetArtifact:
    """An artifact of a stage run. ``is_output``: later stages read it; ``trained_on``: the artifact of its dataset."""

    key: UUID
    is_output: bool
    trained_on: UUID | None


@dataclass(frozen=True)
class MetStageRun:
    """A stage run that the walk met, and the stage runs whose outputs it read."""

    key: UUID
    depth: int
    sources: Sequence[UUID]
    artifacts: list[MetArtifact] = field(default_factory=list)


@dataclass(frozen=True)
class Lineage:
    """Nodes nearest first, and the edges between them; ``is_truncated``: there is more than was asked for."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    is_truncated: bool


def of_reused(lineage: Lineage, stage_run: UUID, source: UUID) -> Lineage:
    """The lineage of ``source`` as that of a stage run that reused its results."""
    return Lineage(
        [Node(stage_run, is_artifact=False, depth=0), *lineage.nodes],
        [Edge(source, stage_run, LineageEdgeKind.REUSED), *lineage.edges],
        lineage.is_truncated,
    )


def joined(lineages: Sequence[Lineage], first: int) -> Lineage:
    """One lineage of all those of a start, with at most ``first`` nodes."""
    nodes = {node.key: node for lineage in lineages for node in lineage.nodes}
    nearest = sorted(nodes.values(), key=lambda node: node.depth)[:first]
    shown = {node.key for node in nearest}
    edges = dict.fromkeys(edge for lineage in lineages for edge in lineage.edges)
    kept = [edge for edge in edges if edge.source in shown and edge.target in shown]
    is_truncated = len(nodes) > first or any(lineage.is_truncated for lineage in lineages)
    return Lineage(nearest, kept, is_truncated)


_IsShown: TypeAlias = Callable[[MetStageRun, MetArtifact | None], bool]
"""Whether a stage run (``None``) or an artifact of it belongs to the lineage."""


def upstream(met: Sequence[MetStageRun], start_artifact: UUID | None, first: int, *, is_cut: bool) -> Lineage:
    """The stage runs behind the start, and the artifacts that were read on the way to it."""
    read_from = {source for stage_run in met for source in stage_run.sources}
    trained_on = {
        artifact.trained_on
        for stage_run in met
        for artifact in stage_run.artifacts
        if stage_run.depth or start_artifact in (None, artifact.key)
    }

    def is_shown(stage_run: MetStageRun, artifact: MetArtifact | None) -> bool:
        if artifact is None or artifact.key == start_artifact or artifact.key in trained_on:
            return True
        return artifact.is_output and stage_run.depth > 0 and stage_run.key in read_from

    return _lineage(met, is_shown, first, is_cut)


def downstream(
    met: Sequence[MetStageRun], start_artifact: UUID | None, first: int, *, is_cut: bool
) -> Lineage:
    """The stage runs ahead of the start, and everything they wrote; of an artifact, without the stage run behind it."""

    def is_shown(stage_run: MetStageRun, artifact: MetArtifact | None) -> bool:
        if stage_run.depth or start_artifact is None:
            return True
        return artifact is not None and artifact.key == start_artifact

    return _lineage(met, is_shown, first, is_cut)


def _lineage(met: Sequence[MetStageRun], is_shown: _IsShown, first: int, is_cut: bool) -> Lineage:
    nodes = [node for stage_run in met for node in _nodes(stage_run, is_shown)]
    shown = {node.key for node in nodes[:first]}
    edges = list(islice(_edges(met, shown), EDGES_PER_NODE * first + 1))
    is_truncated = is_cut or len(nodes) > first or len(edges) > EDGES_PER_NODE * first
    return Lineage(nodes[:first], edges[: EDGES_PER_NODE * first], is_truncated)


def _nodes(stage_run: MetStageRun, is_shown: _IsShown) -> Iterator[Node]:
    if is_shown(stage_run, None):
        yield Node(stage_run.key, is_artifact=False, depth=stage_run.depth)
    for artifact in stage_run.artifacts:
        if is_shown(stage_run, artifact):
            yield Node(artifact.key, is_artifact=True, depth=stage_run.depth)


def _edges(met: Sequence[MetStageRun], shown: Container[UUID]) -> Iterator[Edge]:
    by_key = {stage_run.key: stage_run for stage_run in met}
    for stage_run in met:
        for artifact in stage_run.artifacts:
            if artifact.key in shown:
                yield from _edges_to(artifact, stage_run, shown)
        if stage_run.key in shown:
            for source in stage_run.sources:
                yield from _reads(stage_run, by_key.get(source), shown)


def _edges_to(artifact: MetArtifact, writer: MetStageRun, shown: Container[UUID]) -> Iterator[Edge]:
    if writer.key in shown:
        yield Edge(writer.key, artifact.key, LineageEdgeKind.WROTE)
    if artifact.trained_on is not None and artifact.trained_on in shown:
        yield Edge(artifact.trained_on, artifact.key, LineageEdgeKind.TRAINED_ON)


def _reads(reader: MetStageRun, source: MetStageRun | None, shown: Container[UUID]) -> Iterator[Edge]:
    for artifact in source.artifacts if source else ():
        if artifact.is_output and artifact.key in shown:
            yield Edge(artifact.key, reader.key, LineageEdgeKind.READ)
