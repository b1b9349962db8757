"""What subscriptions deliver: batches of run events, resource samples, changed runs; samples of the host."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import strawberry
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.domain.events import EventKind
from app.graphql.shared.enums import ArtifactType, FinishReason, RunStatus, StageStatus, describe
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.inputs import camel_case
from app.graphql.shared.links import ArtifactLink, RunLink, StageRunLink
from app.graphql.shared.scalars import BigInt

if TYPE_CHECKING:
    from app.database.reads.streams import Row
    from app.services.streams import RowBatch

describe(
    EventKind,
    "What happened to a run; each kind has an object type of the same name.",
    {
        "RUN_QUEUED": "The run was asked for.",
        "RUN_STARTED": "The run left the queue.",
        "RUN_CANCEL_REQUESTED": "Somebody asked to cancel the run.",
        "RUN_FINISHED": "The run is over; no further event changes its status.",
        "STAGE_READIED": "Everything the stage waited for is done.",
        "STAGE_CLAIMED": "A worker took the stage for a new attempt.",
        "STAGE_STARTED": "The process of the attempt runs.",
        "STAGE_STOP_REQUESTED": "The process of the attempt was told to stop.",
        "STAGE_COLLECTING": "The process ended well; its outputs are being stored.",
        "STAGE_RETRY_SCHEDULED": "The attempt failed and another one will follow.",
        "STAGE_FINISHED": "The stage run is over.",
        "ARTIFACT_STORED": "An output of a stage is stored and can be read.",
    },
)


@strawberry.interface(description="Something which happened to a run, told once and never changed.")
class RunEvent:
    run_key: strawberry.Private[uuid.UUID]
    seq: BigInt = strawberry.field(description="Number of the event in its run: 1, 2, 3... without gap.")
    at: dt.datetime = strawberry.field(description="When it happened.")
    kind: EventKind = strawberry.field(description="What happened.")
    actor: str | None = strawberry.field(
        description="Who made it happen: a person or program as named in the request, a worker, or engine."
    )
    cause: str | None = strawberry.field(description="Why it happened, for people.")

    @strawberry.field(description="Global id of the run.")
    def run_id(self) -> strawberry.ID:
        return global_id("Run", self.run_key)

    @strawberry.field(description="The run as it is now.")
    def run(self, info: Info) -> RunLink:
        return unawaited(info.context.loaders.run_by_id.require(self.run_key))


@strawberry.interface(description="An event which concerns the run as a whole.")
class RunProgress(RunEvent):
    status: RunStatus = strawberry.field(name="runStatus", description="Status of the run after the event.")
    previous_status: RunStatus | None = strawberry.field(
        name="previousRunStatus", description="Status of the run before the event."
    )


@strawberry.interface(description="An event which concerns one stage run.")
class StageProgress(RunEvent):
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int | None = strawberry.field(description="The attempt it concerns, from 1; 0 before the first.")
    # Runs and stage runs have different statuses: of one name, no operation could ask for both without an alias.
    status: StageStatus = strawberry.field(
        name="stageStatus", description="Status of the stage run after the event."
    )
    previous_status: StageStatus | None = strawberry.field(
        name="previousStageStatus", description="Status of the stage run before the event."
    )
    evidence: JSON | None = strawberry.field(
        description="What proves it, as the engine noted it; `StageRun.end` has the evidence of an end in types."
    )

    @strawberry.field(description="Global id of the stage run.")
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="The stage run as it is now.")
    def stage_run(self, info: Info) -> StageRunLink:
        return unawaited(info.context.loaders.stage_run_by_id.require(self.stage_run_key))


@strawberry.type(description="The run was asked for.")
class RunQueued(RunProgress):
    pass


@strawberry.type(description="The run left the queue.")
class RunStarted(RunProgress):
    pass


@strawberry.type(description="Somebody asked to cancel the run; it ends when its processes are gone.")
class RunCancelRequested(RunProgress):
    pass


@strawberry.type(description="The run is over.")
class RunFinished(RunProgress):
    finish_reason: FinishReason | None = strawberry.field(description="Why it ended, if not by success.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")


@strawberry.type(description="Everything the stage waited for is done.")
class StageReadied(StageProgress):
    pass


@strawberry.type(description="A worker took the stage for a new attempt.")
class StageClaimed(StageProgress):
    worker_key: strawberry.Private[uuid.UUID | None]

    @strawberry.field(description="Global id of the worker.")
    def worker_id(self) -> strawberry.ID | None:
        return None if self.worker_key is None else global_id("Worker", self.worker_key)


@strawberry.type(description="The process of the attempt runs.")
class StageStarted(StageProgress):
    pass


@strawberry.type(description="The process of the attempt was told to stop.")
class StageStopRequested(StageProgress):
    finish_reason: FinishReason | None = strawberry.field(description="Why it has to stop.")


@strawberry.type(description="The process ended well; its outputs are being stored.")
class StageCollecting(StageProgress):
    pass


@strawberry.interface(description="How an attempt ended.")
class AttemptOutcome:
    finish_reason: FinishReason | None = strawberry.field(description="Why the attempt ended.")
    exit_code: int | None = strawberry.field(description="Exit code of the process.")
    signal: int | None = strawberry.field(description="Number of the signal which ended the process.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")


@strawberry.type(description="The attempt failed and another one will follow.")
class StageRetryScheduled(StageProgress, AttemptOutcome):
    wait_seconds: float | None = strawberry.field(description="How long the next attempt waits at least.")


@strawberry.type(description="The stage run is over.")
class StageFinished(StageProgress, AttemptOutcome):
    reused_from_key: strawberry.Private[uuid.UUID | None]

    @strawberry.field(description="Whether it was completed without a process, by what is in the cache.")
    def cache_hit(self) -> bool:
        return self.reused_from_key is not None

    @strawberry.field(description="Global id of the stage run whose results were taken from the cache.")
    def reused_from_id(self) -> strawberry.ID | None:
        return None if self.reused_from_key is None else global_id("StageRun", self.reused_from_key)


@strawberry.type(description="An output of a stage is stored and can be read.")
class ArtifactStored(RunEvent):
    stage_run_key: strawberry.Private[uuid.UUID]
    artifact_key: strawberry.Private[uuid.UUID]
    name: str = strawberry.field(description="Name of the artifact.")
    artifact_type: ArtifactType = strawberry.field(description="What the artifact is.")
    file_size: BigInt | None = strawberry.field(description="Its size in bytes.")
    attempt: int | None = strawberry.field(description="The attempt which made it.")

    @strawberry.field(description="Global id of the artifact.")
    def artifact_id(self) -> strawberry.ID:
        return global_id("Artifact", self.artifact_key)

    @strawberry.field(description="The artifact, unless it has been deleted since.")
    def artifact(self, info: Info) -> ArtifactLink | None:
        return unawaited(info.context.loaders.artifact_by_id.load(self.artifact_key))

    @strawberry.field(description="The stage run which made it, as it is now.")
    def stage_run(self, info: Info) -> StageRunLink:
        return unawaited(info.context.loaders.stage_run_by_id.require(self.stage_run_key))


@strawberry.type(
    description="Events the subscriber has not seen were removed by retention: read the run again by a query."
)
class ResyncRequired:
    missed_from: BigInt = strawberry.field(description="Number of the first event which is gone.")
    missed_to: BigInt = strawberry.field(description="Number of the last event which is gone.")


@strawberry.type(description="Events of a run in their order, as many as there were to tell.")
class RunEventBatch:
    cursor: str = strawberry.field(description="Give this as `after` to go on behind this batch.")
    events: list[RunEvent] = strawberry.field(description="The events, oldest first.")
    resync_required: ResyncRequired | None = strawberry.field(
        description="Set when events between the last batch and this one are gone."
    )

    @classmethod
    def of(cls, run_id: uuid.UUID, batch: RowBatch) -> RunEventBatch:
        missed = batch.missed
        return cls(
            cursor=str(batch.cursor),
            events=[run_event(run_id, row) for row in batch.rows],
            resync_required=(
                ResyncRequired(missed_from=BigInt(missed[0]), missed_to=BigInt(missed[1])) if missed else None
            ),
        )


_Readers = Mapping[str, Callable[[Any], Any]]

_ANY: _Readers = {"actor": str, "cause": str}
_RUN: _Readers = {**_ANY, "status": RunStatus, "previous_status": RunStatus}
_STAGE: _Readers = {
    **_ANY,
    "status": StageStatus,
    "previous_status": StageStatus,
    "attempt": int,
    "evidence": dict,
}
_OUTCOME: _Readers = {"finish_reason": FinishReason, "exit_code": int, "signal": int, "error_message": str}
_ARTIFACT: _Readers = {
    **_ANY,
    "name": str,
    "artifact_type": ArtifactType,
    "file_size": BigInt,
    "attempt": int,
}

_EVENTS: Mapping[EventKind, tuple[type[RunEvent], _Readers]] = {
    EventKind.RUN_QUEUED: (RunQueued, _RUN),
    EventKind.RUN_STARTED: (RunStarted, _RUN),
    EventKind.RUN_CANCEL_REQUESTED: (RunCancelRequested, _RUN),
    EventKind.RUN_FINISHED: (RunFinished, {**_RUN, "finish_reason": FinishReason, "error_message": str}),
    EventKind.STAGE_READIED: (StageReadied, _STAGE),
    EventKind.STAGE_CLAIMED: (StageClaimed, {**_STAGE, "worker_id": uuid.UUID}),
    EventKind.STAGE_STARTED: (StageStarted, _STAGE),
    EventKind.STAGE_STOP_REQUESTED: (StageStopRequested, {**_STAGE, "finish_reason": FinishReason}),
    EventKind.STAGE_COLLECTING: (StageCollecting, _STAGE),
    EventKind.STAGE_RETRY_SCHEDULED: (StageRetryScheduled, {**_STAGE, **_OUTCOME, "wait_seconds": float}),
    EventKind.STAGE_FINISHED: (StageFinished, {**_STAGE, **_OUTCOME, "reused_from_id": uuid.UUID}),
    EventKind.ARTIFACT_STORED: (ArtifactStored, {**_ARTIFACT, "artifact_id": uuid.UUID}),
}
"""For each kind its type and how the members of its payload are read."""

EVENT_TYPES = tuple(event_type for event_type, _ in _EVENTS.values())
"""To be given to the schema, which can't find the members of an interface by itself."""


def run_event(run_id: uuid.UUID, row: Row) -> RunEvent:
    """The event of a ``run_events`` row; what its payload lacks is None."""
    event_type, readers = _EVENTS[row.kind]
    values = {name: _read(row.payload.get(camel_case(name)), reader) for name, reader in readers.items()}
    # Ids are kept as keys; the fields of the same name make global ids of them.
    keys = {name.removesuffix("_id") + "_key": values.pop(name) for name in [*values] if name.endswith("_id")}
    if row.stage_run_id is not None:
        keys["stage_run_key"] = row.stage_run_id
    return event_type(run_key=run_id, seq=row.seq, at=row.at, kind=row.kind, **keys, **values)


def _read(value: Any, reader: Callable[[Any], Any]) -> Any:
    return None if value is None else reader(value)
