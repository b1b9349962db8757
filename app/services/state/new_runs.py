"""Inserts a new run with all its stage runs: PENDING, and blocked, ready or COMPLETED by a reused result."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.columns import new_id
from app.database.tables import pipeline_runs, run_events, stage_runs
from app.domain.events import EventKind
from app.domain.specs import PipelineSpec, RunConfig, StageSpec, execution_spec
from app.domain.vocabulary import Phase, RunStatus, StageStatus
from app.services.state.mirrors import lock_pipeline, mirror_run, mirror_stages
from app.services.state.run_transaction import event_values


async def insert_run(
    connection: AsyncConnection,
    spec: PipelineSpec,
    config: RunConfig,
    stage_ids: Mapping[str, uuid.UUID],
    reused: Mapping[str, sa.Row[Any]],
    values: Mapping[str, Any],
) -> uuid.UUID:
    """Inserts a PENDING run with a stage run per stage in the caller's transaction; returns its id.

    ``reused`` maps stage names to completed stage runs of an earlier run whose results the new one reuses.
    """
    # Before the run's row, whose ``updated_at`` must be read after the wait: see ``RunTransaction.flush``.
    await lock_pipeline(connection, values["pipeline_id"])
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
            id=run_id,
            open_stage_count=len(rows) - len(reused),
            success_count=len(reused),
            last_event_seq=1,
            updated_at=sa.func.clock_timestamp(),
            **values,
        )
    )
    await connection.execute(sa.insert(stage_runs), rows)
    await connection.execute(sa.insert(run_events).values(run_id=run_id, seq=1, **_queued(values)))
    await mirror_stages(connection, ids.values())
    await mirror_run(connection, run_id)
    return run_id


def _queued(values: Mapping[str, Any]) -> dict[str, Any]:
    retried, trigger = values["retry_of_id"], values["trigger_type"]
    return event_values(
        EventKind.RUN_QUEUED,
        status=RunStatus.PENDING,
        actor=values["triggered_by"] or str(trigger),
        cause=f"it does run {retried} again" if retried else f"trigger {trigger}",
    )


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
