"""Changes of the record of a run that do not move the run: its tags and notes, and its deletion."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.tables import pipeline_runs, stage_runs
from app.domain.moves import RUN_FINAL
from app.errors import DomainError, ErrorCode
from app.notifications.notifier import Notifier
from app.notifications.topics import RUNS, run_topic
from app.services.checks import check_all, check_tags, check_text
from app.services.registry.deletions import refuse_registered
from app.services.runs import NOTES_LIMIT
from app.services.state.mirrors import lock_pipeline, mirror_latest_run
from app.services.state.run_transaction import lock_run, run_transaction


async def update_run(
    engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID, changes: Mapping[str, Any]
) -> None:
    """Changes ``tags`` and ``notes`` as far as they are among the keys; ``None`` removes them."""
    check_all(
        partial(check_tags, changes.get("tags") or ()),
        partial(check_text, "notes", changes.get("notes"), NOTES_LIMIT),
    )
    values = {name: changes[name] or None for name in ("tags", "notes") if name in changes}
    async with run_transaction(engine, notifier, run_id) as transaction:
        transaction.set_run(**values)
    notifier.publish(run_topic(run_id), RUNS)


async def delete_run(engine: AsyncEngine, notifier: Notifier, run_id: uuid.UUID) -> None:
    """Removes an ended run with its stage runs, events, logs and artifacts.

    ``NOT_DELETABLE`` while the run is active, as long as another run reuses results of its stages, and as long as one
    of its models is a version of a registered model.
    """
    async with engine.begin() as connection:
        run = (await lock_run(connection, run_id, for_deletion=True)).run
        if run.status not in RUN_FINAL:
            raise _not_deletable(f"the run is still {run.status}; cancel it first")
        stages = await _locked_stages(connection, run_id)
        await _refuse_reused(connection, run_id, [stage.id for stage in stages])
        await refuse_registered(connection, pipeline_runs.c.id == run_id, "runId", ErrorCode.NOT_DELETABLE)
        await lock_pipeline(connection, run.pipeline_id)
        await connection.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id == run_id))
        await mirror_latest_run(connection, run.pipeline_id, [stage.stage_id for stage in stages])
    notifier.publish(run_topic(run_id), RUNS)


async def _locked_stages(connection: AsyncConnection, run_id: uuid.UUID) -> Sequence[sa.Row[Any, Any]]:
    """The stage runs, locked so that no other run can begin to refer to them: a reference locks them too."""
    columns = (stage_runs.c.id, stage_runs.c.stage_id)
    statement = sa.select(*columns).where(stage_runs.c.pipeline_run_id == run_id)
    return (await connection.execute(statement.order_by(stage_runs.c.id).with_for_update())).all()


async def _refuse_reused(
    connection: AsyncConnection, run_id: uuid.UUID, stage_run_ids: Sequence[uuid.UUID]
) -> None:
    users = sa.select(sa.func.count(stage_runs.c.pipeline_run_id.distinct())).where(
        stage_runs.c.reused_from_id == sa.any_(sa.literal(stage_run_ids, sa.ARRAY(sa.Uuid))),
        stage_runs.c.pipeline_run_id != run_id,
    )
    number = (await connection.execute(users)).scalar_one()
    if number:
        raise _not_deletable(f"{number} later runs reuse results of this one; delete those first")


def _not_deletable(why: str) -> DomainError:
    return DomainError(why, path=("runId",), code=ErrorCode.NOT_DELETABLE)
