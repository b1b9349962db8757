"""Lineage: what lies behind an artifact or a stage run, and what was made of it."""

from __future__ import annotations

import enum
import uuid
from typing import Annotated, Any, Self

import strawberry

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.database.reads.lineage import Start
from app.domain import lineage
from app.domain.lineage import MAX_DEPTH, LineageEdgeKind
from app.errors import DomainError
from app.graphql.shared.enums import describe
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import ArtifactLink, StageRunLink

DEFAULT_DEPTH = 3
DEFAULT_NODES = 200
MAX_NODES = 2000


class LineageDirection(enum.StrEnum):
    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"
    BOTH = "BOTH"


describe(
    LineageDirection,
    "Which way a lineage is followed from its start.",
    {
        "UPSTREAM": "To the stage runs and artifacts it was made from.",
        "DOWNSTREAM": "To the stage runs and artifacts that were made from it.",
        "BOTH": "Both ways.",
    },
)
describe(
    LineageEdgeKind,
    "How data went from one node of a lineage to the next.",
    {
        "WROTE": "The stage run wrote the artifact.",
        "READ": "The stage run found the artifact among its inputs.",
        "TRAINED_ON": "The model in the second artifact was trained with the dataset in the first.",
        "REUSED": "The second stage run reused the results of the first.",
    },
)

DirectionArgument = Annotated[LineageDirection, strawberry.argument(description="Which way to go.")]
DepthArgument = Annotated[
    int, strawberry.argument(description=f"How many stage runs away from the start; at most {MAX_DEPTH}.")
]
NodesArgument = Annotated[
    int,
    strawberry.argument(name="first", description=f"How many nodes, nearest first; at most {MAX_NODES}."),
]


@strawberry.type(description="A stage run or an artifact in a lineage.")
class LineageNode:
    key: strawberry.Private[uuid.UUID]
    is_artifact: strawberry.Private[bool]
    depth: int = strawberry.field(
        description="Stage runs between it and the start. An artifact has the depth of the stage run that wrote it."
    )

    @strawberry.field(description="Global id of the artifact or stage run.", metadata=reads_only())
    def node_id(self) -> strawberry.ID:
        return node_id(self.key, is_artifact=self.is_artifact)

    @strawberry.field(description="The artifact, if it is one.", metadata=reads_only())
    def artifact(self, info: Info) -> ArtifactLink | None:
        return unawaited(info.context.loaders.artifact_by_id.load(self.key)) if self.is_artifact else None

    @strawberry.field(description="The stage run, if it is one.", metadata=reads_only())
    def stage_run(self, info: Info) -> StageRunLink | None:
        return None if self.is_artifact else unawaited(info.context.loaders.stage_run_by_id.load(self.key))


@strawberry.type(description="Data went from one node of a lineage to another.")
class LineageEdge:
    source: strawberry.ID = strawberry.field(
        name="from", description="`nodeId` of the node the data came from."
    )
    target: strawberry.ID = strawberry.field(name="to", description="`nodeId` of the node the data went to.")
    kind: LineageEdgeKind = strawberry.field(description="How the data went.")


@strawberry.type(description="What lies behind an artifact or a stage run, or was made of it.")
class Lineage:
    nodes: list[LineageNode] = strawberry.field(
        description="The start and what was found, nearest first. A reused stage run stands for the one whose results "
        "it reused."
    )
    edges: list[LineageEdge] = strawberry.field(description="How data went between these nodes.")
    is_truncated: bool = strawberry.field(
        description="There are more nodes within `depth`, or more edges, than are listed."
    )

    @classmethod
    def of(cls, found: lineage.Lineage) -> Self:
        """The graph's form of a lineage."""
        kinds = {node.key: node.is_artifact for node in found.nodes}
        return cls(
            nodes=[
                LineageNode(key=node.key, is_artifact=node.is_artifact, depth=node.depth)
                for node in found.nodes
            ],
            edges=[
                LineageEdge(
                    source=node_id(edge.source, is_artifact=kinds[edge.source]),
                    target=node_id(edge.target, is_artifact=kinds[edge.target]),
                    kind=edge.kind,
                )
                for edge in found.edges
            ],
            is_truncated=found.is_truncated,
        )


def node_id(key: uuid.UUID, *, is_artifact: bool) -> strawberry.ID:
    return global_id("Artifact" if is_artifact else "StageRun", key)


def check_size(depth: int, first: int) -> None:
    """Raise ``DomainError`` (BAD_INPUT) that names the argument out of bounds."""
    for name, value, limit in (("depth", depth, MAX_DEPTH), ("first", first, MAX_NODES)):
        if not 0 <= value <= limit:
            raise DomainError(f"{name} must be from 0 to {limit}, not {value}.", path=[name])


def lineage_field(description: str, start: Start, key: str) -> Any:
    """The field ``lineage`` of a type whose attribute ``key`` holds the key of a ``start``."""

    def resolve(
        self: Any,
        info: Info,
        direction: DirectionArgument = LineageDirection.UPSTREAM,
        depth: DepthArgument = DEFAULT_DEPTH,
        first: NodesArgument = DEFAULT_NODES,
    ) -> Lineage:
        return unawaited(
            info.context.loaders.lineage_by(start, direction, depth, first).load(getattr(self, key))
        )

    return strawberry.field(resolver=resolve, description=description, metadata=reads_only())
