"""The lineage of artifacts and stage runs: which stage runs lie behind or ahead of them, in one statement for many.

The walk goes from stage run to stage run. A stage run has read every output of the stage runs it depends on, and a
model has read its training dataset, wherever that was made. A reused stage run stands for its source, which has the
outputs. PostgreSQL evaluates a recursive query only as far as its LIMIT asks for, breadth first: so a wide graph costs
what is shown of it, not what there is.
"""

from __future__ import annotations

import enum
from functools import cache
from typing import Any

import sqlalchemy as sa

from app.database.reads.selections import KEYS

WALKED_PER_STEP = 4
"""Rows of the walk read for each stage run that may be shown: the walk meets some of them on several ways."""


class Start(enum.Enum):
    """What the keys name."""

    ARTIFACT = "SELECT stage_run_id FROM artifacts WHERE id = starts.key"
    STAGE_RUN = "SELECT starts.key"


class Side(enum.Enum):
    """Which way the walk goes from the stage run ``walk.id``; each is a query of the stage runs one step further.

    They are looked up one by one: the planner would rather hash the whole table, because it expects a walk to be long.
    """

    UPSTREAM = """
        SELECT (SELECT COALESCE(source.reused_from_id, source.id) FROM stage_runs AS source WHERE source.id = needed.id)
        FROM stage_runs AS reader
        CROSS JOIN LATERAL unnest(reader.depends_on) AS needed (id)
        WHERE reader.id = walk.id
        UNION
        SELECT training.stage_run_id
        FROM artifacts AS made
        JOIN models ON models.artifact_id = made.id
        JOIN datasets ON datasets.id = models.training_dataset_id
        JOIN artifacts AS training ON training.id = datasets.artifact_id
        WHERE made.stage_run_id = walk.id AND (walk.depth > 0 OR made.id = starts.key OR NOT {is_artifact})"""
    DOWNSTREAM = """
        SELECT COALESCE(reader.reused_from_id, reader.id)
        FROM stage_runs AS reader
        WHERE reader.depends_on @> ARRAY[walk.id] AND reader.status = 'COMPLETED'
        UNION
        SELECT COALESCE(reader.reused_from_id, reader.id)
        FROM stage_runs AS reused
        JOIN stage_runs AS reader ON reader.depends_on @> ARRAY[reused.id] AND reader.status = 'COMPLETED'
        WHERE reused.reused_from_id = walk.id
        UNION
        SELECT trained.stage_run_id
        FROM artifacts AS made
        JOIN datasets ON datasets.artifact_id = made.id
        JOIN models ON models.training_dataset_id = datasets.id
        JOIN artifacts AS trained ON trained.id = models.artifact_id
        WHERE made.stage_run_id = walk.id AND (walk.depth > 0 OR made.id = starts.key OR NOT {is_artifact})"""


_STATEMENT = """
SELECT starts.key, found.*
FROM unnest(CAST(:keys AS uuid[])) AS starts (key)
CROSS JOIN LATERAL (
    WITH RECURSIVE walk (id, depth) AS (
        SELECT COALESCE(reused_from_id, id), 0 FROM stage_runs WHERE id = ({start})
        UNION
        SELECT further.id, walk.depth + 1
        FROM walk
        CROSS JOIN LATERAL ({step}
        ) AS further (id)
        WHERE walk.depth < :depth AND further.id <> walk.id
    ),
    walked AS MATERIALIZED (SELECT id, depth FROM walk LIMIT :walked),
    steps AS (SELECT id, min(depth) AS depth FROM walked GROUP BY id ORDER BY depth, id LIMIT :steps)
    SELECT
        steps.id AS stage_run_id,
        steps.depth,
        ARRAY(
            SELECT DISTINCT COALESCE(source.reused_from_id, source.id)
            FROM unnest(stage_runs.depends_on) AS needed (id)
            JOIN stage_runs AS source ON source.id = needed.id
        ) AS sources,
        artifacts.id AS artifact_id,
        artifacts.attempt_number = stage_runs.attempt_number AS is_output,
        datasets.artifact_id AS trained_on,
        (SELECT count(*) FROM walked) >= :walked OR (SELECT count(*) FROM steps) >= :steps AS is_cut
    FROM steps
    JOIN stage_runs ON stage_runs.id = steps.id
    LEFT JOIN artifacts ON artifacts.stage_run_id = steps.id AND NOT artifacts.is_captured_log
    LEFT JOIN models ON models.artifact_id = artifacts.id
    LEFT JOIN datasets ON datasets.id = models.training_dataset_id
    ORDER BY steps.depth, steps.id, artifacts.id
    LIMIT :rows
) AS found
"""


@cache
def lineage_of(start: Start, side: Side) -> sa.TextualSelect:
    """(key, stage run, depth, stage runs it read from, artifact, is it an output that later stages read, artifact of
    its training dataset, whether there is more) for each artifact of each stage run on this side of each key.

    A stage run without artifacts has one row. ``depth`` counts stage runs from the start, whose own is 0.
    """
    step = side.value.format(is_artifact="true" if start is Start.ARTIFACT else "false")
    return sa.text(_STATEMENT.format(start=start.value, step=step)).columns(
        key=sa.Uuid,
        stage_run_id=sa.Uuid,
        depth=sa.Integer,
        sources=sa.ARRAY(sa.Uuid),
        artifact_id=sa.Uuid,
        is_output=sa.Boolean,
        trained_on=sa.Uuid,
        is_cut=sa.Boolean,
    )


def lineage_parameters(keys: list[Any], depth: int, first: int) -> dict[str, Any]:
    """The parameters of ``lineage_of`` for at most ``first`` stage runs and artifacts each."""
    return {
        KEYS: keys,
        "depth": depth,
        "steps": first + 1,
        "walked": WALKED_PER_STEP * (first + 1),
        "rows": 2 * first + 1,
    }
