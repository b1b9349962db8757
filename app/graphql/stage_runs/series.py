"""Resource samples and metric points of stage runs."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import strawberry

from app.compiled_graphql.reading import reads_only
from app.domain.units import BYTES_PER_MB
from app.graphql.shared.ids import global_id
from app.graphql.shared.scalars import BigInt, MetricValue

if TYPE_CHECKING:
    from app.database.reads.streams import Row
    from app.services.streams import RowBatch


@strawberry.type(description="What the processes of a stage used at one moment.")
class ResourceSample:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="The attempt which was measured.")
    at: dt.datetime = strawberry.field(description="When it was measured.")
    cpu_percent: float = strawberry.field(description="CPU in percent of one core.")
    memory_bytes: BigInt = strawberry.field(description="Memory in bytes.")
    process_count: int = strawberry.field(description="Number of processes.")
    read_bytes: BigInt | None = strawberry.field(description="Bytes read from storage so far.")
    write_bytes: BigInt | None = strawberry.field(description="Bytes written to storage so far.")

    @strawberry.field(description="Global id of the stage run.", metadata=reads_only())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="Memory in MB.", metadata=reads_only("memory_bytes"))
    def memory_mb(self) -> float:
        return self.memory_bytes / BYTES_PER_MB


@strawberry.type(description="A value which a stage reported for a metric.")
class MetricPoint:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="The attempt which reported it.")
    name: str = strawberry.field(description="Name of the metric.")
    step: BigInt = strawberry.field(description="Step of the computation, as the stage counts them.")
    value: MetricValue = strawberry.field(description="The value.")
    at: dt.datetime = strawberry.field(description="When it was recorded.")

    @strawberry.field(description="Global id of the stage run.", metadata=reads_only())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)


@strawberry.type(description="Measurements of the processes of a run in their order.")
class ResourceSampleBatch:
    cursor: str = strawberry.field(description="Give this as `after` to go on behind this batch.")
    samples: list[ResourceSample] = strawberry.field(description="The samples, oldest first.")

    @classmethod
    def of(cls, batch: RowBatch) -> ResourceSampleBatch:
        return cls(cursor=str(batch.cursor), samples=[_resource_sample(row) for row in batch.rows])


@strawberry.type(description="Values which the stages of a run reported, in the order they were recorded.")
class MetricPointBatch:
    cursor: str = strawberry.field(description="Give this as `after` to go on behind this batch.")
    points: list[MetricPoint] = strawberry.field(description="The points, oldest first.")

    @classmethod
    def of(cls, batch: RowBatch) -> MetricPointBatch:
        return cls(cursor=str(batch.cursor), points=[_metric_point(row) for row in batch.rows])


def _metric_point(row: Row) -> MetricPoint:
    return MetricPoint(
        stage_run_key=row.stage_run_id,
        attempt=row.attempt,
        name=row.name,
        step=row.step,
        value=row.value,
        at=row.at,
    )


def _resource_sample(row: Row) -> ResourceSample:
    return ResourceSample(
        stage_run_key=row.stage_run_id,
        attempt=row.attempt,
        at=row.at,
        cpu_percent=row.cpu_percent,
        memory_bytes=row.memory_bytes,
        process_count=row.process_count,
        read_bytes=row.read_bytes,
        write_bytes=row.write_bytes,
    )
