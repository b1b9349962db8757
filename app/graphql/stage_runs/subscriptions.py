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
from app.graphql.shared.positions import AfterBatch, RunId, follow, locating_errors
from app.graphql.shared.scalars import BigInt
from app.graphql.stage_runs.logs import LogChunk, decode_cursor
from app.graphql.stage_runs.series import MetricPointBatch, ResourceSampleBatch
from app.services.logs import LogCursor

StageRunId = Annotated[
    strawberry.ID, strawberry.argument(description="Global id of the stage run, or its bare UUID.")
]


AfterPiece = Annotated[
    str | None,
    strawberry.argument(
        description="Cursor of the last piece received; it replaces `afterOffset` and `attempt`."
    ),
]


AfterOffset = Annotated[
    BigInt | None,
    strawberry.argument(
        description="Byte offset to begin at, for example `nextOffset` of the last piece received. A negative one "
        "counts from the present end of the log; from the beginning when left out."
    ),
]


FromAttempt = Annotated[
    int | None,
    strawberry.argument(
        description="Number of the attempt that `afterOffset` belongs to; the latest when left out."
    ),
]


@locating_errors
async def resource_samples(
    info: Info, run_id: RunId, after: AfterBatch = NOT_GIVEN
) -> AsyncGenerator[ResourceSampleBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.resource_samples, key)
    async with aclosing(follow(info.root_value, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield ResourceSampleBatch.of(batch)


@locating_errors
async def metric_points(
    info: Info, run_id: RunId, after: AfterBatch = NOT_GIVEN
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
    """The cursor has priority: a client that resumes also sends the variables of its first request."""
    return LogCursor(attempt, offset) if after is None else decode_cursor(after)


@strawberry.type(description="Live streams of stage runs.")
class StageRunSubscription:
    resource_samples = strawberry.subscription(
        resolver=resource_samples,
        description="CPU and memory use of the stages of a run while they are executed, after any cursor. It "
        "completes when the "
        "run has ended and all samples are delivered.",
    )
    metric_points = strawberry.subscription(
        resolver=metric_points,
        description="The metrics that the stages of a run report while they are executed, such as training "
        "curves: each "
        "point once, after any cursor. It completes when the run has ended and all points are delivered.",
    )
    stage_log = strawberry.subscription(
        resolver=stage_log,
        description="The log of a stage run, after any cursor or offset and across its attempts; the log of "
        "each attempt "
        "begins at offset 0. It completes when the stage run has ended and all of its log is delivered.",
    )
