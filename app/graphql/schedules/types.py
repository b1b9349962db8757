"""Schedules: they start runs at set times."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

import strawberry
from strawberry import relay
from strawberry.scalars import JSON

from app.compiled_graphql.batching import unawaited
from app.compiled_graphql.reading import reads_only
from app.domain.cron import Cron, upcoming
from app.errors import DomainError
from app.graphql.shared.enums import MissedPolicy
from app.graphql.shared.ids import global_id
from app.graphql.shared.info import Info
from app.graphql.shared.links import PipelineLink, RunLink

MAX_NEXT_RUNS = 20

FirstRuns = Annotated[
    int, strawberry.argument(description=f"How many times to return, from 0 to {MAX_NEXT_RUNS}.")
]


@strawberry.type(description="Starts a run of a pipeline at each time of a cron expression.")
class Schedule(relay.Node):
    id: relay.NodeID[uuid.UUID]
    pipeline_key: strawberry.Private[uuid.UUID]
    last_run_key: strawberry.Private[uuid.UUID | None]
    name: str = strawberry.field(description="Name of the schedule, unique in its pipeline.")
    cron: str = strawberry.field(
        description="Cron expression of five fields: minute, hour, day of month, month, day of week."
    )
    time_zone: str = strawberry.field(description="IANA name of the time zone of the cron expression.")
    enabled: bool = strawberry.field(description="False while it is switched off.")
    missed_policy: MissedPolicy = strawberry.field(
        description="What happens to runs that came due while no server could start them."
    )
    run_config: JSON | None = strawberry.field(description="`runConfig` of its runs.")
    environment: str | None = strawberry.field(
        description="`environment` of its runs; null means that of the server."
    )
    tags: list[str] | None = strawberry.field(description="Labels of its runs.")
    next_run_at: dt.datetime | None = strawberry.field(
        description="When it starts its next run; null while it is switched off."
    )
    last_run_at: dt.datetime | None = strawberry.field(
        description="The scheduled time of the last run it started; null before the first."
    )
    last_error: str | None = strawberry.field(
        description="Why its latest run could not be started; null if that was started."
    )
    created_at: dt.datetime = strawberry.field(description="When the schedule was created.")
    updated_at: dt.datetime = strawberry.field(description="When it last changed or came due.")

    @strawberry.field(description="Global id of its pipeline.", metadata=reads_only())
    def pipeline_id(self) -> strawberry.ID:
        return global_id("Pipeline", self.pipeline_key)

    @strawberry.field(description="The pipeline it runs.", metadata=reads_only())
    def pipeline(self, info: Info) -> PipelineLink:
        return unawaited(info.context.loaders.pipeline_by_id.require(self.pipeline_key))

    @strawberry.field(
        description="The last run it started; null before the first, or if that run was deleted.",
        metadata=reads_only(),
    )
    def last_run(self, info: Info) -> RunLink | None:
        if self.last_run_key is None:
            return None
        return unawaited(info.context.loaders.run_by_id.load(self.last_run_key))

    @strawberry.field(
        description="The times of its next runs, soonest first; empty while it is switched off.",
        metadata=reads_only("next_run_at", "cron", "time_zone"),
    )
    def next_runs(self, first: FirstRuns = 5) -> list[dt.datetime]:
        if not 0 <= first <= MAX_NEXT_RUNS:
            raise DomainError(f"first must be from 0 to {MAX_NEXT_RUNS}, not {first}.", path=["first"])
        if self.next_run_at is None:
            return []
        return list(upcoming(Cron(self.cron, self.time_zone), self.next_run_at, first))
