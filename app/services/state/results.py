"""``Run.outputData``: what the completed stages of a run reported, as one object by the name of the stage."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from app.database.tables import stage_runs

RESULTS_LIMIT_BYTES = 1 << 20
_STORED_LIMIT_BYTES = 8 * RESULTS_LIMIT_BYTES
"""A result may take more bytes as stored than as text. Results beyond this are not read, however many there are."""


def results_by_stage(run_id: uuid.UUID) -> sa.ScalarSelect[Any]:
    """The object, in the order of the pipeline; NULL if no stage reported anything.

    From the stage on whose result makes them larger than ``RESULTS_LIMIT_BYTES`` together, the object holds null
    instead of the result. Each result stays readable as that of its stage run.
    """
    stages = stage_runs.c
    stored = sa.func.sum(sa.func.pg_column_size(stages.output_data)).over(order_by=stages.position)
    reported = (
        sa.select(stages.name, stages.position, stages.output_data, stored.label("stored_bytes"))
        .where(stages.pipeline_run_id == run_id, stages.output_data.is_not(None))
        .subquery()
    )
    readable = sa.select(
        reported.c.name,
        reported.c.position,
        sa.case((reported.c.stored_bytes <= _STORED_LIMIT_BYTES, reported.c.output_data)).label("result"),
        (reported.c.stored_bytes > _STORED_LIMIT_BYTES).label("is_beyond"),
    ).subquery()
    length = sa.func.octet_length(sa.cast(readable.c.result, sa.Text))
    measured = sa.select(
        readable.c.name,
        readable.c.result,
        readable.c.is_beyond,
        sa.func.sum(length).over(order_by=readable.c.position).label("bytes"),
    ).subquery()
    fits = sa.and_(~measured.c.is_beyond, measured.c.bytes <= RESULTS_LIMIT_BYTES)
    return sa.select(
        sa.func.jsonb_object_agg(measured.c.name, sa.case((fits, measured.c.result)))
    ).scalar_subquery()
