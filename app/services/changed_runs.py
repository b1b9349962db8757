"""Which runs have changed since a moment, for the streams that follow lists of runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.reads.pages import Conditions
from app.database.reads.streams import Row, database_clock, run_changes_since

_LONGEST_TRANSACTION = dt.timedelta(seconds=10)


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """The last change of each run that was reported, from a little before the last read up to this one."""

    read_at: dt.datetime
    by_run: Mapping[UUID, Row]

    def and_also(self, changes: Sequence[Row]) -> Changes:
        return replace(self, by_run={**self.by_run, **{change.run_id: change for change in changes}})


@dataclass(frozen=True, slots=True, eq=False)
class WantedRuns:
    """The runs that a subscriber follows: those that are ``matching``.

    ``candidates`` are the conditions among them whose result never changes for a run; other runs are not reported at
    all. Of a deleted run only its pipeline is known; ``pipeline_id`` None means any.
    """

    matching: Conditions = ()
    candidates: Conditions = ()
    pipeline_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ChangedRuns:
    """Ids of runs that changed: those that match the filter now, ``others`` that may have matched before, and runs
    that were deleted and may have matched.

    ``cursor`` is where the next read continues.
    """

    matching: list[UUID]
    others: list[UUID]
    deleted: list[UUID]
    cursor: Changes


async def changes_since(connection: AsyncConnection, last_read_at: dt.datetime) -> Changes:
    """The changes up to now, from a little before ``last_read_at`` on."""
    # ``updated_at`` is from shortly before the commit: a transaction may have committed since the last read.
    read_at = await database_clock(connection)
    rows = await run_changes_since(connection, last_read_at - _LONGEST_TRANSACTION)
    return Changes(read_at, {row.run_id: row for row in rows})
