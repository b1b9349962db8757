"""Create, change and delete the schedules of pipelines."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.columns import new_id
from app.database.tables import schedules
from app.domain.cron import Cron, parse_cron
from app.domain.input.pipelines import parse_run_config
from app.domain.vocabulary import MissedPolicy
from app.errors import Conflict, NotFound
from app.notifications.notifier import Notifier
from app.notifications.topics import SCHEDULES
from app.services.checks import check_all, check_name, check_tags, check_text
from app.services.pipelines import StoredPipeline, load_pipeline

NAME_LIMIT = 200
ENVIRONMENT_LIMIT = 50


async def create_schedule(
    engine: AsyncEngine, notifier: Notifier, pipeline_id: uuid.UUID, draft: Mapping[str, Any]
) -> uuid.UUID:
    """Stores a schedule; the first run is at the first moment from now on.

    ``draft`` has the keys ``name``, ``cron`` and optionally ``timeZone``, ``enabled``, ``missedPolicy``, ``runConfig``,
    ``environment`` and ``tags``. ``InvalidInput`` names every wrong one.
    """
    schedule_id = new_id()
    try:
        async with engine.begin() as connection:
            pipeline = await load_pipeline(connection, pipeline_id)
            values = _checked(draft, list(pipeline.stage_ids))
            values["next_run_at"] = await _next_run_at(connection, values)
            await connection.execute(
                sa.insert(schedules).values(id=schedule_id, pipeline_id=pipeline_id, **values)
            )
    except IntegrityError as error:
        raise _name_is_taken(draft["name"]) from error
    notifier.publish(SCHEDULES)
    return schedule_id


async def update_schedule(
    engine: AsyncEngine, notifier: Notifier, schedule_id: uuid.UUID, changes: Mapping[str, Any]
) -> None:
    """Changes the keys that are present. Another time, or switching it on, counts from now on."""
    try:
        async with engine.begin() as connection:
            schedule, pipeline = await _locked(connection, schedule_id)
            draft = {**_draft_of(schedule), **changes}
            values = _checked(draft, list(pipeline.stage_ids))
            if any(values[name] != getattr(schedule, name) for name in ("cron", "time_zone", "enabled")):
                values["next_run_at"] = await _next_run_at(connection, values)
            await connection.execute(
                sa.update(schedules).where(schedules.c.id == schedule_id).values(**values)
            )
    except IntegrityError as error:
        raise _name_is_taken(changes["name"]) from error
    notifier.publish(SCHEDULES)


async def delete_schedule(engine: AsyncEngine, schedule_id: uuid.UUID) -> None:
    """Removes a schedule; the runs it started stay."""
    async with engine.begin() as connection:
        deleted = await connection.execute(sa.delete(schedules).where(schedules.c.id == schedule_id))
    if deleted.rowcount == 0:
        raise _no_schedule(schedule_id)


async def _locked(connection: AsyncConnection, schedule_id: uuid.UUID) -> tuple[sa.Row[Any], StoredPipeline]:
    """The schedule and its pipeline, held until the commit; in the usual order of locks the pipeline is first."""
    this = schedules.c.id == schedule_id
    pipeline_id = (
        await connection.execute(sa.select(schedules.c.pipeline_id).where(this))
    ).scalar_one_or_none()
    if pipeline_id is None:
        raise _no_schedule(schedule_id)
    pipeline = await load_pipeline(connection, pipeline_id)
    row = (await connection.execute(sa.select(schedules).where(this).with_for_update())).one_or_none()
    if row is None:
        raise _no_schedule(schedule_id)
    return row, pipeline


async def _next_run_at(connection: AsyncConnection, values: Mapping[str, Any]) -> dt.datetime | None:
    """On the database's clock; None for a schedule that is switched off."""
    if not values["enabled"]:
        return None
    now = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return Cron(values["cron"], values["time_zone"]).next_after(now)


def _draft_of(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "name": row.name,
        "cron": row.cron,
        "timeZone": row.time_zone,
        "enabled": row.enabled,
        "missedPolicy": row.missed_policy,
        "runConfig": row.run_config,
        "environment": row.environment,
        "tags": row.tags,
    }


def _checked(draft: Mapping[str, Any], stage_names: Collection[str]) -> dict[str, Any]:
    """The columns of a draft, but for ``next_run_at``."""
    cron, time_zone = draft["cron"], draft.get("timeZone", "UTC")
    run_config, environment, tags = (draft.get(key) for key in ("runConfig", "environment", "tags"))
    check_all(
        partial(check_name, draft["name"], NAME_LIMIT),
        partial(parse_cron, cron, time_zone),
        partial(parse_run_config, run_config, stage_names),
        partial(check_text, "environment", environment, ENVIRONMENT_LIMIT),
        partial(check_tags, tags or ()),
    )
    return {
        "name": draft["name"],
        "cron": parse_cron(cron, time_zone).expression,
        "time_zone": time_zone,
        "enabled": draft.get("enabled", True),
        "missed_policy": MissedPolicy(draft.get("missedPolicy", MissedPolicy.RUN_ONCE)),
        "run_config": run_config,
        "environment": environment,
        "tags": tags or None,
    }


def _no_schedule(schedule_id: uuid.UUID) -> NotFound:
    return NotFound(f"there is no schedule {schedule_id}", path=("scheduleId",))


def _name_is_taken(name: str) -> Conflict:
    return Conflict(f"name: the pipeline already has a schedule {name!r}; choose another", path=("name",))
