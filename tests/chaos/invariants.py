"""What must hold after any faults: the rows agree with each other, and with what the stages themselves wrote down."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.models import pipeline_runs, run_events, stage_runs
from app.domain.statuses import RUN_FINAL, STAGE_FINAL, RunStatus, StageStatus


@dataclass
class FinalRows:
    """Remembers every row it has seen final (none may ever change again), and how many runs were RUNNING at most."""

    most_running: int = 0
    seen: dict[uuid.UUID, sa.Row[Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    async def look(self, engine: AsyncEngine) -> int:
        """How many runs are not final yet."""
        async with engine.connect() as connection:
            runs = (await connection.execute(sa.select(pipeline_runs))).all()
            stages = (await connection.execute(sa.select(stage_runs))).all()
        for row in [*runs, *stages]:
            if row.status in RUN_FINAL | STAGE_FINAL and self.seen.setdefault(row.id, row) != row:
                self.changed.append(f"{self.seen[row.id]} became {row}")
        self.most_running = max(self.most_running, sum(row.status is RunStatus.RUNNING for row in runs))
        return sum(row.status not in RUN_FINAL for row in runs)


async def violations(engine: AsyncEngine, acknowledged: Collection[uuid.UUID], ledger: Path) -> list[str]:
    """Every invariant that does not hold, in words."""
    async with engine.connect() as connection:
        runs = (await connection.execute(sa.select(pipeline_runs))).all()
        stages = (await connection.execute(sa.select(stage_runs))).all()
        ordered = sa.select(run_events).order_by(run_events.c.run_id, run_events.c.seq)
        events = (await connection.execute(ordered)).all()
    found = [f"run {run_id} is lost" for run_id in set(acknowledged) - {run.id for run in runs}]
    found += [f"run {run.id} is still {run.status}" for run in runs if run.status not in RUN_FINAL]
    for run in runs:
        numbers = [event.seq for event in events if event.run_id == run.id]
        if numbers != list(range(1, run.last_event_seq + 1)):
            found.append(f"events of run {run.id} have gaps: {numbers}")
    found += _finished_once(stages, events)
    found += _agrees({row.id: row for row in stages}, ledger.read_text().splitlines())
    return found


def _finished_once(stages: Sequence[sa.Row[Any]], events: Sequence[sa.Row[Any]]) -> list[str]:
    finished = Counter(event.stage_run_id for event in events if event.kind == "STAGE_FINISHED")
    return [f"stage {row.id} finished {finished[row.id]} times" for row in stages if finished[row.id] != 1]


def _agrees(stages: Mapping[uuid.UUID, sa.Row[Any]], lines: Sequence[str]) -> list[str]:
    """The ledger has one line ``<what> <stage run>.<attempt>`` for each begin and each end of a command."""
    place = {line: number for number, line in reversed(list(enumerate(lines)))}
    found = [f"{line!r} was written {count} times" for line, count in Counter(lines).items() if count > 1]
    for row in stages.values():
        key = f"{row.id}.{row.attempt_number}"
        if row.status is not StageStatus.COMPLETED:
            continue
        if f"end {key}" not in place:
            found.append(f"stage {key} is COMPLETED, but its command never ended")
        begins = [place[line] for line in place if line.startswith(f"begin {row.id}.")]
        ends = [
            (other, place.get(f"end {other.id}.{other.attempt_number}", len(lines)))
            for other in map(stages.__getitem__, row.depends_on)
        ]
        found += [
            f"stage {key} began before {other.name} was done"
            for other, end in ends
            if end > min(begins, default=0)
        ]
    return found
