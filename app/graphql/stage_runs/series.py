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


@strawberry.type(description="The resource use of the processes of a stage at one moment.")
class ResourceSample:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="Number of the measured attempt.")
    at: dt.datetime = strawberry.field(description="When it was measured.")
    cpu_percent: float = strawberry.field(description="CPU in percent of one core.")
    memory_bytes: BigInt = strawberry.field(description="Memory in bytes.")
    process_count: int = strawberry.field(description="Number of processes.")
    read_bytes: BigInt | None = strawberry.field(
        description="Bytes that the attempt has read from disk so far; null if they are not known."
    )
    write_bytes: BigInt | None = strawberry.field(
        description="Bytes that the attempt has written to disk so far; null if they are not known."
    )

    @strawberry.field(description="Global id of the stage run.", metadata=reads_only())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)

    @strawberry.field(description="Memory in MB of 1024 x 1024 bytes.", metadata=reads_only("memory_bytes"))
    def memory_mb(self) -> float:
        return self.memory_bytes / BYTES_PER_MB


@strawberry.type(description="A value of a metric that a stage reported.")
class MetricPoint:
    stage_run_key: strawberry.Private[uuid.UUID]
    attempt: int = strawberry.field(description="Number of the attempt that reported it.")
    name: str = strawberry.field(description="Name of the metric.")
    step: BigInt = strawberry.field(description="Step of the computation, as the stage counts steps.")
    value: MetricValue = strawberry.field(description="The value.")
    at: dt.datetime = strawberry.field(description="When it was recorded.")

    @strawberry.field(description="Global id of the stage run.", metadata=reads_only())
    def stage_run_id(self) -> strawberry.ID:
        return global_id("StageRun", self.stage_run_key)


@strawberry.type(description="Resource samples of the stages of a run, in the order they were recorded.")
class ResourceSampleBatch:
    cursor: str = strawberry.field(description="Give it as `after` to resume after this batch.")
    samples: list[ResourceSample] = strawberry.field(description="The samples, oldest first.")

    @classmethod
    def of(cls, batch: RowBatch) -> ResourceSampleBatch:
        return cls(cursor=str(batch.cursor), samples=[_resource_sample(row) for row in batch.rows])


@strawberry.type(
    description="Metric points that the stages of a run reported, in the order they were recorded."
)
class MetricPointBatch:
    cursor: str = strawberry.field(description="Give it as `after` to resume after this batch.")
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
