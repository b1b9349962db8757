"""Writes a new run with all its stage runs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.columns import new_id
from app.database.tables import pipeline_runs, stage_runs
from app.domain.events import EventKind
from app.domain.specs import PipelineSpec, RunConfig, StageSpec, execution_spec
from app.domain.vocabulary import Phase, RunStatus, StageStatus
from app.services.state.run_transaction import lock_run


async def insert_run(
    connection: AsyncConnection,
    spec: PipelineSpec,
    config: RunConfig,
    stage_ids: Mapping[str, uuid.UUID],
    reused: Mapping[str, sa.Row[Any]],
    values: Mapping[str, Any],
) -> uuid.UUID:
    """A new PENDING run with a stage run per stage, in the caller's transaction.

    ``reused`` maps stage names to completed stage runs of an earlier run whose outputs stand in for theirs.
    """
    run_id = new_id()
    ids = {stage.name: new_id() for stage in spec.stages}
    rows = [
        {
            "id": ids[stage.name],
            "pipeline_run_id": run_id,
            "stage_id": stage_ids[stage.name],
            "name": stage.name,
            "position": position,
            "spec": execution_spec(spec.config, stage, config),
            "depends_on": [ids[name] for name in stage.dependencies],
            "allow_failure": stage.config.allow_failure,
            "cpus": stage.config.resources.cpus,
            "memory_mb": stage.config.resources.memory_mb,
            **_first_state(stage, reused),
        }
        for position, stage in enumerate(sorted(spec.stages, key=lambda stage: stage.order))
    ]
    await connection.execute(
        sa.insert(pipeline_runs).values(
            id=run_id, open_stage_count=len(rows) - len(reused), success_count=len(reused), **values
        )
    )
    await connection.execute(sa.insert(stage_runs), rows)
    transaction = await lock_run(connection, run_id)
    again = values["retry_of_id"]
    transaction.record(
        EventKind.RUN_QUEUED,
        status=RunStatus.PENDING,
        actor=values["triggered_by"] or str(values["trigger_type"]),
        cause=f"it does run {again} again" if again else f"trigger {values['trigger_type']}",
    )
    transaction.touch(*ids.values())
    transaction.set_run(status=RunStatus.PENDING)
    await transaction.flush()
    return run_id


def _first_state(stage: StageSpec, reused: Mapping[str, sa.Row[Any]]) -> dict[str, Any]:
    """Status columns of a stage run at its creation."""
    source = reused.get(stage.name)
    waiting = sum(name not in reused for name in stage.dependencies)
    return {
        "phase": Phase.FINAL if source else Phase.BLOCKED if waiting else Phase.READY,
        "status": StageStatus.COMPLETED if source else StageStatus.PENDING,
        "waiting_for": 0 if source else waiting,
        "finish_reason": source and source.finish_reason,
        "completed_at": source and source.completed_at,
        "metrics": source and source.metrics,
        "output_data": source and source.output_data,
        "reused_from_id": source and (source.reused_from_id or source.id),
    }
