"""Runs side by side. Lists of values are in the order of the runs; deltas are relative to the first run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import strawberry
from strawberry.scalars import JSON

from app.compiled_graphql.batching import DataLoader
from app.domain import comparison
from app.domain.comparison import deltas, differences, in_order_of_appearance
from app.graphql.artifacts.types import Dataset
from app.graphql.runs.types import Run
from app.graphql.shared.info import Info
from app.graphql.shared.scalars import BigInt, MetricValue
from app.graphql.stage_runs.types import StageRun

if TYPE_CHECKING:
    from app.graphql.loaders import Loaders

T = TypeVar("T")

_VALUES = "The value of each run, in the order of the runs; null where it is not known."
_DELTAS = "Each value minus that of the first run; null where one of the two is not known."


@strawberry.type(description="A setting that is not the same in all runs.")
class ValueDifference:
    path: list[str] = strawberry.field(description="Names that lead to the setting, outermost first.")
    values: list[JSON | None] = strawberry.field(
        description="Its value in each run, in the order of the runs; null where it is not set."
    )

    @classmethod
    def all_of(cls, documents: Sequence[Mapping[str, Any] | None]) -> list[ValueDifference]:
        return [cls(path=list(path), values=values) for path, values in differences(documents).items()]


@strawberry.type(description="A metric that the stage reported in at least one of the runs.")
class MetricComparison:
    name: str = strawberry.field(description="Name of the metric.")
    values: list[MetricValue | None] = strawberry.field(description=_VALUES)
    deltas: list[MetricValue | None] = strawberry.field(description=_DELTAS)

    @classmethod
    def all_of(cls, metrics: Sequence[Mapping[str, Any]]) -> list[MetricComparison]:
        found = []
        for name in in_order_of_appearance(metrics):
            values = [comparison.number(of_run.get(name)) for of_run in metrics]
            found.append(cls(name=name, values=values, deltas=deltas(values)))  # type: ignore[arg-type]
        return found


@strawberry.type(description="A figure of a run or a stage, in each of the runs.")
class FigureComparison:
    values: list[float | None] = strawberry.field(description=_VALUES)
    deltas: list[float | None] = strawberry.field(description=_DELTAS)

    @classmethod
    def of(cls, owners: Sequence[Any], attribute: str) -> FigureComparison:
        values = [None if owner is None else getattr(owner, attribute) for owner in owners]
        return cls(values=values, deltas=deltas(values))


@strawberry.type(description="Time and resources, in each of the runs.")
class ResourceComparison:
    execution_time: FigureComparison = strawberry.field(description="`executionTime` in seconds.")
    memory_usage: FigureComparison = strawberry.field(description="Peak memory in MB of 1024 x 1024 bytes.")
    cpu_usage: FigureComparison = strawberry.field(
        description="CPU in percent of one core: the peak of a run, the average of a stage."
    )

    @classmethod
    def of_runs(cls, runs: Sequence[Run]) -> ResourceComparison:
        return cls(
            execution_time=FigureComparison.of(runs, "execution_time"),
            memory_usage=FigureComparison.of(runs, "max_memory_usage"),
            cpu_usage=FigureComparison.of(runs, "max_cpu_usage"),
        )

    @classmethod
    def of_stage_runs(cls, stage_runs: Sequence[StageRun | None]) -> ResourceComparison:
        return cls(
            execution_time=FigureComparison.of(stage_runs, "execution_time"),
            memory_usage=FigureComparison.of(stage_runs, "memory_usage"),
            cpu_usage=FigureComparison.of(stage_runs, "cpu_usage"),
        )


@strawberry.type(description="A column of a dataset.")
class DatasetColumn:
    name: str = strawberry.field(description="Name of the column.")
    type: str | None = strawberry.field(description="Its type, for example integer; null if it is not known.")

    @classmethod
    def of(cls, column: comparison.Column) -> DatasetColumn:
        return cls(name=column.name, type=column.type)


@strawberry.type(description="A column with another type than in the first run.")
class RetypedColumn:
    name: str = strawberry.field(description="Name of the column.")
    old_type: str | None = strawberry.field(description="Its type in the first run.")
    new_type: str | None = strawberry.field(description="Its type in this run.")


@strawberry.type(description="How the columns of a dataset differ from those in the first run.")
class SchemaDifference:
    added: list[DatasetColumn] = strawberry.field(description="Columns that the first run does not have.")
    removed: list[DatasetColumn] = strawberry.field(description="Columns that only the first run has.")
    retyped: list[RetypedColumn] = strawberry.field(description="Columns whose type differs.")

    @classmethod
    def of(cls, change: comparison.SchemaChange | None) -> SchemaDifference | None:
        if change is None:
            return None
        return cls(
            added=[DatasetColumn.of(column) for column in change.added],
            removed=[DatasetColumn.of(column) for column in change.removed],
            retyped=[
                RetypedColumn(name=old.name, old_type=old.type, new_type=new.type)
                for old, new in change.retyped
            ],
        )


@strawberry.type(description="The datasets that a stage left at the same path in the runs.")
class DatasetComparison:
    relative_path: str = strawberry.field(description="Path of the file in the output folder of the stage.")
    datasets: list[Dataset | None] = strawberry.field(
        description="The dataset of each run; null where the run has none at this path."
    )
    row_counts: list[BigInt | None] = strawberry.field(description=_VALUES)
    row_count_deltas: list[BigInt | None] = strawberry.field(description=_DELTAS)
    schema_differences: list[SchemaDifference | None] = strawberry.field(
        description="How the columns of each run differ from those of the first; null where one is not known."
    )

    @classmethod
    def all_of(cls, by_run: Sequence[Mapping[str, Dataset]]) -> list[DatasetComparison]:
        paths = in_order_of_appearance(by_run)
        return [cls.of(path, [datasets.get(path) for datasets in by_run]) for path in paths]

    @classmethod
    def of(cls, path: str, datasets: list[Dataset | None]) -> DatasetComparison:
        counts = [None if dataset is None else dataset.row_count for dataset in datasets]
        schemas = [None if dataset is None else dataset.schema for dataset in datasets]
        return cls(
            relative_path=path,
            datasets=datasets,
            row_counts=counts,
            row_count_deltas=deltas(counts),  # type: ignore[arg-type]
            schema_differences=[
                SchemaDifference.of(comparison.schema_change(schemas[0], schema)) for schema in schemas
            ],
        )


@strawberry.type(description="The stages with the same name.")
class StageComparison:
    name: str = strawberry.field(description="Name of the stage.")
    stage_runs: list[StageRun | None] = strawberry.field(
        description="The stage run of each run; null where the run has no stage with this name."
    )

    @strawberry.field(description="Parameters that differ, merged from the pipeline, the stage and the run.")
    async def parameters(self, info: Info) -> list[ValueDifference]:
        specs = await self._specs(info.context.loaders)
        return ValueDifference.all_of([None if spec is None else spec.get("params") for spec in specs])

    @strawberry.field(
        description="Other settings that differ: command, environment, limits, retries and so on."
    )
    async def settings(self, info: Info) -> list[ValueDifference]:
        specs = await self._specs(info.context.loaders)
        return ValueDifference.all_of([None if spec is None else {**spec, "params": None} for spec in specs])

    @strawberry.field(
        description="Its metrics: the final values, or else the last value it reported while it ran."
    )
    async def metrics(self, info: Info) -> list[MetricComparison]:
        loader = info.context.loaders.metric_points_by_stage_run(None, 1)
        reported = await load_each(loader, source_keys(self.stage_runs))
        final = [dict_of(stage_run and stage_run.metrics) for stage_run in self.stage_runs]
        last = [{point.name: point.value for point in points or ()} for points in reported]
        return MetricComparison.all_of([{**last[run], **final[run]} for run in range(len(final))])

    @strawberry.field(description="Time and resources; null for a stage run that reuses earlier results.")
    def resources(self) -> ResourceComparison:
        return ResourceComparison.of_stage_runs(self.stage_runs)

    @strawberry.field(description="Its datasets, by their paths.")
    async def datasets(self, info: Info) -> list[DatasetComparison]:
        found = await load_each(info.context.loaders.datasets_by_stage_run, source_keys(self.stage_runs))
        return DatasetComparison.all_of([datasets or {} for datasets in found])

    async def _specs(self, loaders: Loaders) -> list[dict[str, Any] | None]:
        keys = [None if stage_run is None else stage_run.id for stage_run in self.stage_runs]
        return [
            None if spec is None else dict_of(spec)
            for spec in await load_each(loaders.spec_by_stage_run, keys)
        ]


@strawberry.type(description="Runs side by side; the first one is the reference.")
class RunComparison:
    runs: list[Run] = strawberry.field(description="The runs, in the order asked for.")

    @strawberry.field(description="Their stages, matched by name.")
    async def stages(self, info: Info) -> list[StageComparison]:
        loader = info.context.loaders.stage_runs_by_run
        of_runs = await loader.load_many([run.id for run in self.runs])
        by_name = [{stage_run.name: stage_run for stage_run in stage_runs} for stage_runs in of_runs]
        return [
            StageComparison(name=name, stage_runs=[stages.get(name) for stages in by_name])
            for name in in_order_of_appearance(by_name)
        ]

    @strawberry.field(description="Time and resources of the runs as a whole.")
    def resources(self) -> ResourceComparison:
        return ResourceComparison.of_runs(self.runs)


def source_keys(stage_runs: Sequence[StageRun | None]) -> list[uuid.UUID | None]:
    """Keys of the stage runs that made the results, which may be reused ones of an earlier run."""
    return [
        None if stage_run is None else stage_run.reused_from_key or stage_run.id for stage_run in stage_runs
    ]


async def load_each(loader: DataLoader[uuid.UUID, T], keys: Sequence[uuid.UUID | None]) -> list[T | None]:
    """The value of each key, and ``None`` for ``None``."""
    present = [key for key in keys if key is not None]
    found: dict[uuid.UUID | None, T] = dict(zip(present, await loader.load_many(present), strict=True))
    return [found.get(key) for key in keys]


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
