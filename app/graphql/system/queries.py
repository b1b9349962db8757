"""Queries of the state of the installation."""

from __future__ import annotations

import importlib.metadata

import strawberry

from app.database.reads import selections
from app.database.reads.runs import run_totals
from app.database.reads.workers import workers_with_load
from app.domain.vocabulary import RunStatus
from app.graphql.shared.info import Info
from app.graphql.shared.rows import instances
from app.graphql.system.types import SystemStatus, Worker, WorkerStatus


@strawberry.type(description="Reads of the installation.")
class SystemQuery:
    @strawberry.field(description="The state of the installation.")
    async def system_status(self, info: Info) -> SystemStatus:
        reader = info.context.reader
        totals = await reader.pairs(run_totals())
        rows = await reader.rows(workers_with_load())
        workers = instances(Worker, selections.WORKERS, rows, skip=2)
        return SystemStatus(
            version=importlib.metadata.version("ml-pipeline-thing"),
            pending_runs=totals.get(RunStatus.PENDING, 0),
            running_runs=totals.get(RunStatus.RUNNING, 0),
            workers=[
                WorkerStatus(worker=worker, alive=alive, active_stage_runs=load)
                for worker, (load, alive, *_) in zip(workers, rows, strict=True)
            ],
        )
