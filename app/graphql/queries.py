"""The roots of all reads."""

from __future__ import annotations

import asyncio
import importlib.metadata
import uuid
from typing import Annotated, Any, Protocol

import strawberry
from strawberry import relay

from app.database import queries
from app.database.pages import Conditions, Window, count, page
from app.database.queries import Selection
from app.domain.statuses import RunStatus
from app.errors import DomainError, NotFound
from app.graphql.batching import NodeLoader
from app.graphql.context import Context
from app.graphql.executor.reading import reads
from app.graphql.ids import key_of, required_key, split_id
from app.graphql.info import Info
from app.graphql.inputs import (
    ArtifactFilterArgument,
    ArtifactOrder,
    ArtifactOrderArgument,
    DatasetFilterArgument,
    ModelFilterArgument,
    PipelineFilterArgument,
    PipelineOrder,
    PipelineOrderArgument,
    RunFilterArgument,
    RunOrder,
    RunOrderArgument,
    sort_of,
)
from app.graphql.loaders import Loaders
from app.graphql.pages import (
    MAX_PAGE,
    NOT_GIVEN,
    After,
    Before,
    Connection,
    FirstOfRoot,
    Last,
    T,
    connection,
    window_of,
)
from app.graphql.rows import instances
from app.graphql.types.artifact import Artifact, Dataset, Model
from app.graphql.types.comparison import RunComparison
from app.graphql.types.pipeline import Pipeline
from app.graphql.types.run import Run
from app.graphql.types.stage_run import StageRun
from app.graphql.types.system import SystemStatus, Worker, WorkerStatus

MAX_COMPARED = 10

NodeId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id, or the bare UUID.")]
AnyId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id of any node.")]
AnyIds = Annotated[
    list[strawberry.ID], strawberry.argument(description=f"Global ids of any nodes; at most {MAX_PAGE}.")
]
RunIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(
        description=f"Ids of the runs: 2 to {MAX_COMPARED}, the one to measure against first."
    ),
]


def newest_first(cls: type[T], selection: Selection, description: str) -> Any:
    """A root field with all nodes of a type, without filter or order to choose."""

    async def resolve(
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
    ) -> Connection[T]:
        return await root_page(info.context, cls, selection, window_of(first, after, last, before))

    return strawberry.field(resolver=resolve, description=description, metadata=reads())


@strawberry.type(description="The roots of all reads.")
class Query:
    @strawberry.field(description="All pipelines.", metadata=reads())
    async def pipelines(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: PipelineFilterArgument = NOT_GIVEN,
        order_by: PipelineOrderArgument = PipelineOrder.CREATED_AT_DESC,
    ) -> Connection[Pipeline]:
        window = window_of(first, after, last, before, order=sort_of(order_by))
        conditions = conditions_of(where)
        return await root_page(info.context, Pipeline, queries.PIPELINES, window, conditions)

    @strawberry.field(description="One pipeline, or null.", metadata=reads())
    async def pipeline(self, info: Info, node_id: NodeId) -> Pipeline | None:
        return await node_or_none(info.context.loaders.pipeline_by_id, node_id, "Pipeline")

    @strawberry.field(description="All runs of all pipelines.", metadata=reads())
    async def runs(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: RunFilterArgument = NOT_GIVEN,
        order_by: RunOrderArgument = RunOrder.CREATED_AT_DESC,
    ) -> Connection[Run]:
        window = window_of(first, after, last, before, order=sort_of(order_by))
        conditions = conditions_of(where)
        return await root_page(info.context, Run, queries.RUNS, window, conditions)

    @strawberry.field(description="One run, or null.", metadata=reads())
    async def run(self, info: Info, node_id: NodeId) -> Run | None:
        return await node_or_none(info.context.loaders.run_by_id, node_id, "Run")

    @strawberry.field(description="What differs between runs, of one pipeline or of several.")
    async def compare_runs(self, info: Info, ids: RunIds) -> RunComparison:
        keys = compared_keys(ids)
        runs = await info.context.loaders.run_by_id.load_many(keys)
        for index, run in enumerate(runs):
            if run is None:
                raise NotFound("There is no such run.", path=["ids", str(index)])
        return RunComparison(runs=[run for run in runs if run is not None])

    @strawberry.field(description="One stage run, or null.", metadata=reads())
    async def stage_run(self, info: Info, node_id: NodeId) -> StageRun | None:
        return await node_or_none(info.context.loaders.stage_run_by_id, node_id, "StageRun")

    @strawberry.field(description="All artifacts of all runs.", metadata=reads())
    async def artifacts(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: ArtifactFilterArgument = NOT_GIVEN,
        order_by: ArtifactOrderArgument = ArtifactOrder.CREATED_AT_DESC,
    ) -> Connection[Artifact]:
        window = window_of(first, after, last, before, order=sort_of(order_by))
        conditions = conditions_of(where)
        return await root_page(info.context, Artifact, queries.ARTIFACTS, window, conditions)

    @strawberry.field(description="One artifact, or null.", metadata=reads())
    async def artifact(self, info: Info, node_id: NodeId) -> Artifact | None:
        return await node_or_none(info.context.loaders.artifact_by_id, node_id, "Artifact")

    @strawberry.field(description="All datasets, newest first.", metadata=reads())
    async def datasets(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: DatasetFilterArgument = NOT_GIVEN,
    ) -> Connection[Dataset]:
        window = window_of(first, after, last, before)
        return await root_page(info.context, Dataset, queries.DATASETS, window, conditions_of(where))

    @strawberry.field(description="All models, newest first.", metadata=reads())
    async def models(
        self,
        info: Info,
        first: FirstOfRoot = NOT_GIVEN,
        after: After = NOT_GIVEN,
        last: Last = NOT_GIVEN,
        before: Before = NOT_GIVEN,
        where: ModelFilterArgument = NOT_GIVEN,
    ) -> Connection[Model]:
        window = window_of(first, after, last, before)
        return await root_page(info.context, Model, queries.MODELS, window, conditions_of(where))

    @strawberry.field(description="Any node by its global id, or null.", metadata=reads())
    async def node(self, info: Info, node_id: AnyId) -> relay.Node | None:
        return await any_node(info.context.loaders, node_id)

    @strawberry.field(
        description="Any nodes by their global ids, in that order; null for each that does not exist.",
        metadata=reads(),
    )
    async def nodes(self, info: Info, ids: AnyIds) -> list[relay.Node | None]:
        if len(ids) > MAX_PAGE:
            raise DomainError(f"At most {MAX_PAGE} ids are allowed, not {len(ids)}.", path=["ids"])
        return await asyncio.gather(*(any_node(info.context.loaders, node_id) for node_id in ids))

    @strawberry.field(description="The state of the whole installation.")
    async def system_status(self, info: Info) -> SystemStatus:
        reader = info.context.reader
        totals = await reader.pairs(queries.run_totals())
        rows = await reader.rows(queries.workers_with_load())
        workers = instances(Worker, queries.WORKERS, rows, skip=2)
        return SystemStatus(
            version=importlib.metadata.version("ml-pipeline-thing"),
            pending_runs=totals.get(RunStatus.PENDING, 0),
            running_runs=totals.get(RunStatus.RUNNING, 0),
            workers=[
                WorkerStatus(worker=worker, alive=alive, active_stage_runs=load)
                for worker, (load, alive, *_) in zip(workers, rows, strict=True)
            ],
        )


class Filter(Protocol):
    """The input of a list which can be narrowed."""

    def conditions(self) -> Conditions: ...


def conditions_of(where: Filter | None) -> Conditions:
    return () if where is None or where is NOT_GIVEN else where.conditions()


async def root_page(
    context: Context, cls: type[T], selection: Selection, window: Window, conditions: Conditions = ()
) -> Connection[T]:
    wanted = context.reader.narrowed(cls, selection).with_columns(window.order.columns)
    rows = await context.reader.rows(page(wanted, window, conditions))
    return connection(
        instances(cls, wanted, rows),
        window,
        lambda: context.reader.number(count(selection.table, conditions)),
    )


async def node_or_none(loader: NodeLoader[T], node_id: str, type_name: str) -> T | None:
    key = key_of(node_id, type_name)
    return None if key is None else await loader.load(key)


def compared_keys(ids: list[strawberry.ID]) -> list[uuid.UUID]:
    if not 2 <= len(ids) <= MAX_COMPARED:
        raise DomainError(f"Name 2 to {MAX_COMPARED} runs, not {len(ids)}.", path=["ids"])
    keys = [required_key(node_id, "Run", "ids", str(index)) for index, node_id in enumerate(ids)]
    if len(set(keys)) < len(keys):
        raise DomainError("Name each run once.", path=["ids"])
    return keys


async def any_node(loaders: Loaders, node_id: str) -> relay.Node | None:
    type_name, key = split_id(node_id) or (None, None)
    by_type: dict[str | None, NodeLoader[Any]] = {
        "Pipeline": loaders.pipeline_by_id,
        "Stage": loaders.stage_by_id,
        "Run": loaders.run_by_id,
        "StageRun": loaders.stage_run_by_id,
        "Artifact": loaders.artifact_by_id,
        "Dataset": loaders.dataset_by_id,
        "Model": loaders.model_by_id,
        "Worker": loaders.worker_by_id,
        "Schedule": loaders.schedule_by_id,
        "Webhook": loaders.webhook_by_id,
    }
    if key is None or type_name not in by_type:
        return None
    node: relay.Node | None = await by_type[type_name].load(key)
    return node
