"""Live streams of events and changes of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import strawberry

from app.graphql.runs.changes import RunsChangedBatch
from app.graphql.runs.events import RunEventBatch
from app.graphql.runs.inputs import RunFilter, RunFilterArgument
from app.graphql.shared.connections import NOT_GIVEN, given, sequence_of
from app.graphql.shared.ids import global_id, required_key
from app.graphql.shared.info import Info
from app.graphql.shared.positions import AfterBatch, RunId, follow, locating_errors
from app.services.changed_runs import ChangedRuns, WantedRuns

if TYPE_CHECKING:
    from app.graphql.loaders import Loaders


@locating_errors
async def run_events(
    info: Info, run_id: RunId, after: AfterBatch = NOT_GIVEN
) -> AsyncGenerator[RunEventBatch, None]:
    key = required_key(run_id, "Run", "runId")
    stream = partial(info.context.streams.run_events, key)
    async with aclosing(follow(info.root_value, stream, sequence_of(given(after)))) as batches:
        async for batch in batches:
            yield RunEventBatch.of(key, batch)


@locating_errors
async def runs_changed(
    info: Info,
    filter: RunFilterArgument = NOT_GIVEN,  # noqa: A002 - the name in the graph
) -> AsyncGenerator[RunsChangedBatch, None]:
    chosen = given(filter) or RunFilter()
    # A run that ceases to match has to leave the client's list, so only what never changes excludes it entirely.
    never_changing = chosen.conditions(only_fixed=True)
    wanted = WantedRuns(chosen.conditions(), never_changing, chosen.key("pipeline_id"))
    stream = partial(info.context.streams.changed_runs, wanted)
    async with aclosing(follow(info.root_value, stream, None)) as batches:
        async for batch in batches:
            yield await _runs_changed_batch(info.context.loaders, batch)


async def _runs_changed_batch(loaders: Loaders, batch: ChangedRuns) -> RunsChangedBatch:
    runs = await loaders.run_by_id.load_many(batch.matching)
    return RunsChangedBatch(
        runs=[run for run in runs if run is not None],
        other_run_ids=[global_id("Run", run_id) for run_id in batch.others],
        deleted_run_ids=[global_id("Run", run_id) for run_id in batch.deleted],
    )


@strawberry.type(description="Live streams of runs.")
class RunSubscription:
    run_events = strawberry.subscription(
        resolver=run_events,
        description="Everything that happens to a run: each event once and in order, after any cursor. It completes "
        "when the run has ended and all events are delivered.",
    )
    runs_changed = strawberry.subscription(
        resolver=runs_changed,
        description="Runs that are created, change or are deleted. To keep a list up to date without missing a change: "
        "subscribe, then query the list, then apply all batches, also those received before the answer. The stream "
        "begins a few seconds in the past, so its first batches may repeat what the list shows. It never completes.",
    )
