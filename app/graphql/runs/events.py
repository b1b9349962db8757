"""Events of a run: their types, and how the rows of ``run_events`` become objects of these types."""

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
    "The kind of an event; RUN_QUEUED has the object type RunQueued, and so on.",
    {
        "RUN_QUEUED": "The run was created and waits in the queue.",
        "RUN_STARTED": "The run left the queue.",
        "RUN_CANCEL_REQUESTED": "A cancel of the run was requested.",
        "RUN_FINISHED": "The run has ended; its status no longer changes.",
        "STAGE_READIED": "All stages it depends on have ended; it waits for a worker.",
        "STAGE_CLAIMED": "A worker claimed the stage for a new attempt.",
        "STAGE_STARTED": "The process of the attempt has started.",
        "STAGE_STOP_REQUESTED": "The attempt was asked to stop.",
        "STAGE_COLLECTING": "The command exited with code 0; its outputs are being stored.",
        "STAGE_RETRY_SCHEDULED": "The attempt failed and another one follows.",
        "STAGE_FINISHED": "The stage run has ended.",
        "ARTIFACT_STORED": "An artifact was stored by a stage, or registered by a client.",
    },
)


@strawberry.interface(description="Something that happened to a run. Events never change.")
class RunEvent:
    run_key: strawberry.Private[uuid.UUID]
    seq: BigInt = strawberry.field(
        description="Number of the event in its run: 1, 2, 3 and so on, without gaps."
    )
    at: dt.datetime = strawberry.field(description="When it happened.")
    kind: EventKind = strawberry.field(description="The kind of the event.")
    actor: str | None = strawberry.field(
        description="Who made it happen: the name given in a request, a worker, or engine."
    )
    cause: str | None = strawberry.field(description="Why it happened, for people.")

    @strawberry.field(description="Global id of the run.")
    def run_id(self) -> strawberry.ID:
        return global_id("Run", self.run_key)

    @strawberry.field(description="The run as it is now.")
    def run(self, info: Info) -> RunLink:
        return unawaited(info.context.loaders.run_by_id.require(self.run_key))


@strawberry.interface(description="An event of the run as a whole.")
class RunProgress(RunEvent):
    status: RunStatus = strawberry.field(name="runStatus", description="Status of the run after the event.")
    previous_status: RunStatus | None = strawberry.field(
        name="previousRunStatus", description="Status of the run before the event; null if it had none."
    )


@strawberry.interface(description="An event of one stage run.")
class StageProgress(RunEvent):
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int | None = strawberry.field(
        description="Number of the attempt, from 1; 0 before the first attempt."
    )
    # Runs and stage runs have different statuses: of one name, no operation could ask for both without an alias.
    status: StageStatus = strawberry.field(
        name="stageStatus", description="Status of the stage run after the event."
    )
    previous_status: StageStatus | None = strawberry.field(
        name="previousStageStatus", description="Status of the stage run before the event."
    )
    evidence: JSON | None = strawberry.field(
        description="What the engine observed, as JSON; `StageRun.end` has the same about an end as typed fields."
    )

    @strawberry.field(description="Global id of the stage run.")
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="The stage run as it is now.")
    def stage_run(self, info: Info) -> StageRunLink:
        return unawaited(info.context.loaders.stage_run_by_id.require(self.stage_run_key))


@strawberry.type(description="The run was created and waits in the queue.")
class RunQueued(RunProgress):
    pass


@strawberry.type(description="The run left the queue.")
class RunStarted(RunProgress):
    pass


@strawberry.type(
    description="A cancel of the run was requested; the run ends when none of its processes is left."
)
class RunCancelRequested(RunProgress):
    pass


@strawberry.type(description="The run has ended; its status no longer changes.")
class RunFinished(RunProgress):
    finish_reason: FinishReason | None = strawberry.field(description="Why the run ended.")
    error_message: str | None = strawberry.field(description="What went wrong, for people.")


@strawberry.type(description="All stages it depends on have ended; it waits for a worker.")
class StageReadied(StageProgress):
    pass


@strawberry.type(description="A worker claimed the stage for a new attempt.")
class StageClaimed(StageProgress):
    worker_key: strawberry.Private[uuid.UUID | None]

    @strawberry.field(description="Global id of the worker.")
    def worker_id(self) -> strawberry.ID | None:
        return None if self.worker_key is None else global_id("Worker", self.worker_key)


@strawberry.type(description="The process of the attempt has started.")
class StageStarted(StageProgress):
    pass


@strawberry.type(description="The attempt was asked to stop.")
class StageStopRequested(StageProgress):
    finish_reason: FinishReason | None = strawberry.field(
        description="Why it has to stop: CANCELLED or TIMED_OUT."
    )


@strawberry.type(description="The command exited with code 0; its outputs are being stored.")
class StageCollecting(StageProgress):
    pass


@strawberry.interface(description="How an attempt ended.")
class AttemptOutcome:
    finish_reason: FinishReason | None = strawberry.field(description="Why the attempt ended.")
    exit_code: int | None = strawberry.field(
        description="Exit code of the command; null if it did not exit by itself."
    )
    signal: int | None = strawberry.field(
        description="Number of the signal that ended the command; null if none did."
    )
    error_message: str | None = strawberry.field(description="What went wrong, for people.")


@strawberry.type(description="The attempt failed and another one follows.")
class StageRetryScheduled(StageProgress, AttemptOutcome):
    wait_seconds: float | None = strawberry.field(description="Seconds that the next attempt waits at least.")


@strawberry.type(description="The stage run has ended.")
class StageFinished(StageProgress, AttemptOutcome):
    reused_from_key: strawberry.Private[uuid.UUID | None]

    @strawberry.field(
        description="True if it was completed without a process, with results reused from the cache."
    )
    def cache_hit(self) -> bool:
        return self.reused_from_key is not None

    @strawberry.field(
        description="Global id of the stage run whose results it reuses from the cache; null if it was executed."
    )
    def reused_from_id(self) -> strawberry.ID | None:
        return None if self.reused_from_key is None else global_id("StageRun", self.reused_from_key)


@strawberry.type(description="An artifact was stored by a stage, or registered by a client.")
class ArtifactStored(RunEvent):
    stage_run_key: strawberry.Private[uuid.UUID]
    artifact_key: strawberry.Private[uuid.UUID]
    name: str = strawberry.field(description="Name of the artifact.")
    artifact_type: ArtifactType = strawberry.field(description="The kind of artifact.")
    file_size: BigInt | None = strawberry.field(
        description="Its size in bytes; null if its bytes are stored elsewhere."
    )
    attempt: int | None = strawberry.field(
        description="Number of the attempt that made it; null if a client registered it."
    )

    @strawberry.field(description="Global id of the artifact.")
    def artifact_id(self) -> strawberry.ID:
        return global_id("Artifact", self.artifact_key)

    @strawberry.field(description="The artifact; null if it has been deleted since.")
    def artifact(self, info: Info) -> ArtifactLink | None:
        return unawaited(info.context.loaders.artifact_by_id.load(self.artifact_key))

    @strawberry.field(description="The stage run it belongs to, as it is now.")
    def stage_run(self, info: Info) -> StageRunLink:
        return unawaited(info.context.loaders.stage_run_by_id.require(self.stage_run_key))


@strawberry.type(
    description="Events that the client has not received were removed by retention: query the run again."
)
class ResyncRequired:
    missed_from: BigInt = strawberry.field(description="Number of the first removed event.")
    missed_to: BigInt = strawberry.field(description="Number of the last removed event.")


@strawberry.type(description="Events of a run, in their order.")
class RunEventBatch:
    cursor: str = strawberry.field(description="Give it as `after` to resume after this batch.")
    events: list[RunEvent] = strawberry.field(description="The events, oldest first.")
    resync_required: ResyncRequired | None = strawberry.field(
        description="Set if events between the previous batch and this one have been removed; null otherwise."
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
"""The type of each kind, and how to read the members of its payload."""

EVENT_TYPES = tuple(event_type for event_type, _ in _EVENTS.values())
"""All implementations of ``RunEvent``; the schema can't find those of an interface by itself."""


def run_event(run_id: uuid.UUID, row: Row) -> RunEvent:
    """The event of a row of ``run_events``; members its payload lacks are ``None``."""
    event_type, readers = _EVENTS[row.kind]
    values = {name: _read(row.payload.get(camel_case(name)), reader) for name, reader in readers.items()}
    # Keys are stored under the names of ids; the fields with these names return global ids.
    keys = {name.removesuffix("_id") + "_key": values.pop(name) for name in [*values] if name.endswith("_id")}
    if row.stage_run_id is not None:
        keys["stage_run_key"] = row.stage_run_id
    return event_type(run_key=run_id, seq=row.seq, at=row.at, kind=row.kind, **keys, **values)


def _read(value: Any, reader: Callable[[Any], Any]) -> Any:
    return None if value is None else reader(value)
