"""Queries of runs."""

from __future__ import annotations

import uuid
from typing import Annotated

import strawberry

from app.compiled_graphql.reading import reads_only
from app.database.reads import selections
from app.errors import DomainError, NotFound
from app.graphql.runs.comparison import RunComparison
from app.graphql.runs.inputs import RunFilterArgument, RunOrderArgument
from app.graphql.runs.types import Run
from app.graphql.shared.connections import Connection
from app.graphql.shared.ids import required_key
from app.graphql.shared.info import Info
from app.graphql.shared.roots import NodeId, node_or_none, root_list

MAX_COMPARED = 10
RunIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(description=f"Global ids of 2 to {MAX_COMPARED} runs, the reference first."),
]


@strawberry.type(description="Reads of runs.")
class RunQuery:
    runs: Connection[Run] = root_list(
        Run,
        selections.RUNS,
        "All runs of all pipelines.",
        where=RunFilterArgument,
        order_by=RunOrderArgument,
    )

    @strawberry.field(description="The run with this id; null if there is none.", metadata=reads_only())
    async def run(self, info: Info, node_id: NodeId) -> Run | None:
        return await node_or_none(info.context.loaders.run_by_id, node_id, "Run")

    @strawberry.field(description="The differences between runs, of one pipeline or of several.")
    async def compare_runs(self, info: Info, ids: RunIds) -> RunComparison:
        keys = compared_keys(ids)
        runs = await info.context.loaders.run_by_id.load_many(keys)
        for index, run in enumerate(runs):
            if run is None:
                raise NotFound("There is no such run.", path=["ids", str(index)])
        return RunComparison(runs=[run for run in runs if run is not None])


def compared_keys(ids: list[strawberry.ID]) -> list[uuid.UUID]:
    if not 2 <= len(ids) <= MAX_COMPARED:
        raise DomainError(f"Name 2 to {MAX_COMPARED} runs, not {len(ids)}.", path=["ids"])
    keys = [required_key(node_id, "Run", "ids", str(index)) for index, node_id in enumerate(ids)]
    if len(set(keys)) < len(keys):
        raise DomainError("Name each run once.", path=["ids"])
    return keys
