"""Keeps registered models: a run with a registered model can't be deleted."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import (
    artifacts,
    model_aliases,
    model_versions,
    models,
    pipeline_runs,
    registered_models,
    stage_runs,
)
from app.errors import DomainError, ErrorCode


async def refuse_registered(
    connection: AsyncConnection, of_runs: sa.ColumnElement[bool], path: str, code: ErrorCode
) -> None:
    """Raises ``DomainError`` if a model of these runs is registered; it names the version and the aliases.

    ``of_runs`` is a condition on ``pipeline_runs``, whose rows the caller has locked for their deletion.
    """
    registered = (await connection.execute(_registered_models_of(of_runs))).first()
    if registered is None:
        return
    name, version, aliases, protected = registered
    what = f"version {version} of the registered model {name!r} is a model of it"
    if protected:
        message = f"{what}, and the protected alias {protected[0]!r} points to that version; move the alias"
    elif aliases:
        message = f"{what}, and the alias {aliases[0]!r} points to that version; move or remove the alias"
    else:
        raise DomainError(f"{what}; delete the version first", path=(path,), code=code)
    raise DomainError(f"{message} and delete the version first", path=(path,), code=code)


def _registered_models_of(of_runs: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """(name, version, aliases, protected aliases) of each version of a model of the runs, protected ones first."""
    alias = model_aliases.c.alias
    protected = sa.func.array_agg(alias).filter(model_aliases.c.is_protected)
    return (
        sa.select(
            registered_models.c.name,
            model_versions.c.version,
            sa.func.array_agg(alias).filter(alias.is_not(None)),
            protected,
        )
        .select_from(model_versions)
        .join(registered_models, registered_models.c.id == model_versions.c.registered_model_id)
        .join(models, models.c.id == model_versions.c.model_id)
        .join(artifacts, artifacts.c.id == models.c.artifact_id)
        .join(stage_runs, stage_runs.c.id == artifacts.c.stage_run_id)
        .join(pipeline_runs, pipeline_runs.c.id == stage_runs.c.pipeline_run_id)
        .outerjoin(model_aliases, model_aliases.c.version_id == model_versions.c.id)
        .where(of_runs)
        .group_by(registered_models.c.name, model_versions.c.version)
        .order_by(protected.is_(None), registered_models.c.name, model_versions.c.version)
        .limit(1)
    )
