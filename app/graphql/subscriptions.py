"""The live side of the graph: each subscription turns a stream of row batches into a stream of graph objects."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import strawberry
from graphql import located_error

from app.errors import DomainError
from app.graphql.ids import global_id, required_key
from app.graphql.info import Info
from app.graphql.inputs import RunFilter, RunFilterArgument
from app.graphql.pages import NOT_GIVEN, given, sequence_of
from app.graphql.place import follow
from app.graphql.scalars import BigInt
from app.graphql.types.events import (
    MetricPointBatch,
    ResourceSampleBatch,
    RunEventBatch,
    RunsChangedBatch,
    SystemSample,
)
from app.graphql.types.logs import LogChunk, decode_cursor
from app.services.logs import LogCursor
from app.services.streams import ChangedRuns, WantedRuns

if TYPE_CHECKING:
    from app.graphql.loaders import Loaders

BEGINNING_ARGUMENTS = frozenset({"after", "afterOffset", "attempt"})
"""Arguments which say where a stream begins, and nothing else about it."""

_Stream = TypeVar("_Stream", bound=Callable[..., AsyncGenerator[Any, None]])

RunId = Annotated[strawberry.ID, strawberry.argument(description="Id of the run.")]
StageRunId = Annotated[strawberry.ID, strawberry.argument(description="Id of the stage run.")]
After = Annotated[
    str | None,
    strawberry.argument(description="Cursor of the last batch received; from the beginning when left out."),
]
AfterPiece = Annotated[
    str | None,
    strawberry.argument(
        description="Cursor of the last piece received; with it `afterOffset` and `attempt` do not count."
    ),
]
AfterOffset = Annotated[
    BigInt | None,
    strawberry.argument(
        description="`nextOffset` of the last piece received. A negative one counts from the present end of the "
        "log; from the beginning when left out."
    ),
]
FromAttempt = Annotated[
    int | None,
    strawberry.argument(description="The attempt which `afterOffset` belongs to; the latest when left out."),
]


def located(resolver: _Stream) -> _Stream:
    """The same subscription; its errors name the field, which graphql-core leaves out once the stream has begun."""

    @wraps(resolver)
    async def resolve(info: Info, **arguments: Any) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(resolver(info, **arguments)) as results:
                async for result in results:
                    yield result
        except Exception as error:
            raise located_error(error, info._raw_info.field_nodes, info.path.as_list()) from error

    return cast("_Stream", resolve)


@located
async def run_events(
    info: Info, run_id: RunId, after: After = NOT_GIVEN
) -> AsyncGenerator[RunEventBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.run_events, key)
    async with aclosing(follow(info, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield RunEventBatch.of(key, batch)


@located
async def resource_samples(
    info: Info, run_id: RunId, after: After = NOT_GIVEN
) -> AsyncGenerator[ResourceSampleBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.resource_samples, key)
    async with aclosing(follow(info, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield ResourceSampleBatch.of(batch)


@located
async def metric_points(
    info: Info, run_id: RunId, after: After = NOT_GIVEN
) -> AsyncGenerator[MetricPointBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.metric_points, key)
    async with aclosing(follow(info, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield MetricPointBatch.of(batch)


@located
async def stage_log(
    info: Info,
    stage_run_id: StageRunId,
    after_offset: AfterOffset = NOT_GIVEN,
    attempt: FromAttempt = NOT_GIVEN,
    after: AfterPiece = NOT_GIVEN,
) -> AsyncGenerator[LogChunk, None]:
    key = required_key(stage_run_id, "StageRun", "stageRunId")
    stream = partial(info.context.streams.stage_log, key)
    start = log_start(given(after), given(after_offset), given(attempt))
    try:
        async with aclosing(follow(info, stream, start)) as pieces:
            async for piece in pieces:
                yield LogChunk.of(piece)
    except DomainError as error:
        if given(after) is None or error.path != ("attempt",):
            raise
        raise DomainError(
            "this cursor is ahead of the stage run: it belongs to another one", path=["after"]
        ) from error


def log_start(after: str | None, offset: int | None, attempt: int | None) -> LogCursor:
    """The cursor counts more: who resumes sends the variables with which the log was first asked for, too."""
    return LogCursor(attempt, offset) if after is None else decode_cursor(after)


@located
async def runs_changed(
    info: Info,
    filter: RunFilterArgument = NOT_GIVEN,  # noqa: A002 - the name in the graph
) -> AsyncGenerator[RunsChangedBatch, None]:
    chosen = given(filter) or RunFilter()
    # These three may change while a run exists: a run which no longer has them must leave the client's list.
    lasting = replace(chosen, status=NOT_GIVEN, tags=NOT_GIVEN, environment=NOT_GIVEN)
    wanted = WantedRuns(chosen.conditions(), lasting.conditions(), chosen.pipeline_key())
    stream = partial(info.context.streams.changed_runs, wanted)
    async with aclosing(follow(info, stream, None)) as batches:
        async for batch in batches:
            yield await _runs_changed_batch(info.context.loaders, batch)


@located
async def system_samples(info: Info) -> AsyncGenerator[SystemSample, None]:
    async with aclosing(follow(info, lambda _: info.context.system.samples(), None)) as samples:
        async for sample in samples:
            yield SystemSample.of(sample)


async def _runs_changed_batch(loaders: Loaders, batch: ChangedRuns) -> RunsChangedBatch:
    runs = await loaders.run_by_id.load_many(batch.matching)
    return RunsChangedBatch(
        runs=[run for run in runs if run is not None],
        other_run_ids=[global_id("Run", run_id) for run_id in batch.others],
        deleted_run_ids=[global_id("Run", run_id) for run_id in batch.deleted],
    )


@strawberry.type(
    description="Live streams over graphql-transport-ws. What a client received tells how to go on after a break."
)
class Subscription:
    run_events = strawberry.subscription(
        resolver=run_events,
        description="Everything that happens to a run: each event once and in order, from any cursor on. It completes "
        "by itself when the run is over and all was delivered.",
    )
    resource_samples = strawberry.subscription(
        resolver=resource_samples,
        description="CPU and memory of the processes of a run, from any cursor on. It completes with the run.",
    )
    metric_points = strawberry.subscription(
        resolver=metric_points,
        description="The metrics which the stages of a run report while they work, such as training curves: each point "
        "once, from any cursor on. It completes with the run.",
    )
    stage_log = strawberry.subscription(
        resolver=stage_log,
        description="What a stage prints, from any cursor or offset on and through its retries: a new attempt begins "
        "at offset 0 again. It completes when the stage run is over and all was delivered.",
    )
    runs_changed = strawberry.subscription(
        resolver=runs_changed,
        description="Runs which are new, change or are deleted from now on, for lists: subscribe first, then query the "
        "list, and apply to it what was told meanwhile too; then no change is missed. The stream begins a few seconds "
        "in the past, so its first batches may repeat what the list shows already.",
    )
    system_samples = strawberry.subscription(
        resolver=system_samples, description="CPU and memory of the server's host, once per second."
    )
