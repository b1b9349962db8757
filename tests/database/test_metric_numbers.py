"""The migration numbers the metric points of older releases within their run, in the order of insertion."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import migrations

RUN, OTHER_RUN, STAGE_RUN, OTHER_STAGE_RUN = (str(uuid.UUID(int=number)) for number in range(4))
OLD_ROWS = f"""
    INSERT INTO pipelines (id, name) VALUES ('{RUN}', 'old');
    INSERT INTO pipeline_stages (id, pipeline_id, name, stage_type, "order")
        VALUES ('{RUN}', '{RUN}', 'train', 'CLEANUP', 0);
    INSERT INTO pipeline_runs (id, pipeline_id, definition)
        VALUES ('{RUN}', '{RUN}', '{{}}'), ('{OTHER_RUN}', '{RUN}', '{{}}');
    INSERT INTO stage_runs (id, pipeline_run_id, stage_id, name, position, spec)
        VALUES ('{STAGE_RUN}', '{RUN}', '{RUN}', 'train', 0, '{{}}'),
               ('{OTHER_STAGE_RUN}', '{OTHER_RUN}', '{RUN}', 'train', 0, '{{}}');
    INSERT INTO metric_points (stage_run_id, attempt, name, step, value)
        VALUES ('{STAGE_RUN}', 1, 'loss', 1, 3), ('{OTHER_STAGE_RUN}', 1, 'loss', 1, 9),
               ('{STAGE_RUN}', 1, 'loss', 2, 2), ('{STAGE_RUN}', 1, 'loss', 3, 1);
"""


async def test_points_of_older_releases_are_numbered_within_their_run(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(lambda link: command.downgrade(migrations.alembic_config(link), "0001"))
        for statement in filter(str.strip, OLD_ROWS.split(";")):
            await connection.execute(sa.text(statement))
    await migrations.upgrade(engine)
    async with engine.connect() as connection:
        points = await connection.execute(
            sa.text("SELECT run_id, seq, value FROM metric_points ORDER BY run_id, seq")
        )
        assert [(str(run), seq, value) for run, seq, value in points] == [
            *[(RUN, 1, 3.0), (RUN, 2, 2.0), (RUN, 3, 1.0)],
            (OTHER_RUN, 1, 9.0),
        ]
        last = await connection.execute(sa.text("SELECT last_metric_seq FROM pipeline_runs ORDER BY id"))
        assert list(last.scalars()) == [3, 1]
