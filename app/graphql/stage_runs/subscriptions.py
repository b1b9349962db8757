"""Live streams of stage runs: samples, metric points and logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated

import strawberry

from app.errors import DomainError
from app.graphql.shared.connections import NOT_GIVEN, given, sequence_of
from app.graphql.shared.ids import required_key
from app.graphql.shared.info import Info
from app.graphql.shared.positions import After, RunId, follow, locating_errors
from app.graphql.shared.scalars import BigInt
from app.graphql.stage_runs.logs import LogChunk, decode_cursor
from app.graphql.stage_runs.series import MetricPointBatch, ResourceSampleBatch
from app.services.logs import LogCursor

StageRunId = Annotated[strawberry.ID, strawberry.argument(description="Id of the stage run.")]


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


@locating_errors
async def resource_samples(
    info: Info, run_id: RunId, after: After = NOT_GIVEN
) -> AsyncGenerator[ResourceSampleBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.resource_samples, key)
    async with aclosing(follow(info.root_value, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield ResourceSampleBatch.of(batch)


@locating_errors
async def metric_points(
    info: Info, run_id: RunId, after: After = NOT_GIVEN
) -> AsyncGenerator[MetricPointBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.metric_points, key)
    async with aclosing(follow(info.root_value, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield MetricPointBatch.of(batch)


@locating_errors
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
        async with aclosing(follow(info.root_value, stream, start)) as pieces:
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


@strawberry.type(description="Live streams of stage runs.")
class StageRunSubscription:
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
