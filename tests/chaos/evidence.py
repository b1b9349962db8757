"""All rows after one chaos run, and what was observed of them while they changed."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database.claims import IS_CURRENT
from app.database.tables import (
    artifacts,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    run_events,
    stage_attempts,
    stage_runs,
)
from app.domain.moves import ACTIVE_PHASES, RUN_FINAL, STAGE_FINAL
from app.domain.vocabulary import RunStatus

Row = sa.Row[Any]


@dataclass(frozen=True)
class Evidence:
    """All rows at the end."""

    pipelines: Sequence[Row]
    pipeline_stages: Sequence[Row]
    runs: Mapping[uuid.UUID, Row]
    stages: Mapping[uuid.UUID, Row]
    attempts: Mapping[str, Row]
    """By ``<stage run>.<attempt>``."""
    artifacts: Mapping[uuid.UUID, Sequence[Row]]
    """By stage run."""
    events: Mapping[uuid.UUID, Sequence[Row]]
    """By run, ordered by sequence number."""

    def stages_of(self, run_id: uuid.UUID) -> list[Row]:
        return [row for row in self.stages.values() if row.pipeline_run_id == run_id]

    def figures(self) -> str:
        runs = Counter(str(row.status) for row in self.runs.values())
        reasons = Counter(str(row.finish_reason) for row in self.attempts.values())
        stages = Counter(str(row.status) for row in self.stages.values())
        return ", ".join(
            f"{total.total()} {name} {dict(sorted(total.items()))}"
            for name, total in (("runs", runs), ("stages", stages), ("attempts", reasons))
        )


async def read_evidence(engine: AsyncEngine) -> Evidence:
    async with engine.connect() as connection:
        events: dict[uuid.UUID, list[Row]] = defaultdict(list)
        for row in await _all(connection, run_events, run_events.c.seq):
            events[row.run_id].append(row)
        outputs: dict[uuid.UUID, list[Row]] = defaultdict(list)
        for row in await _all(connection, artifacts, artifacts.c.id):
            outputs[row.stage_run_id].append(row)
        return Evidence(
            pipelines=await _all(connection, pipelines, pipelines.c.id),
            pipeline_stages=await _all(connection, pipeline_stages, pipeline_stages.c.id),
            runs={row.id: row for row in await _all(connection, pipeline_runs, pipeline_runs.c.id)},
            stages={row.id: row for row in await _all(connection, stage_runs, stage_runs.c.id)},
            attempts={
                f"{row.stage_run_id}.{row.attempt}": row
                for row in await _all(connection, stage_attempts, stage_attempts.c.attempt)
            },
            artifacts=outputs,
            events=events,
        )


async def _all(connection: AsyncConnection, table: sa.Table, order: sa.Column[Any]) -> Sequence[Row]:
    return (await connection.execute(sa.select(table).order_by(order))).all()


@dataclass
class Watch:
    """Samples the rows: limits must hold at any moment, and final rows must not change."""

    concurrent_runs: int
    concurrent_stages: int
    """Per host."""
    broken: set[str] = field(default_factory=set)
    samples: int = 0
    unfinished: int = 0
    """Runs that were not final in the last sample."""
    events: int = 0
    """The number of events in the last sample."""
    most_running: int = 0
    most_active: int = 0
    _final: dict[uuid.UUID, Row] = field(default_factory=dict)

    async def sample(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            runs = await _all(connection, pipeline_runs, pipeline_runs.c.id)
            stages = await _all(connection, stage_runs, stage_runs.c.id)
            active = sa.select(stage_runs.c.pipeline_run_id, stage_attempts.c.host_id)
            active = active.join(stage_attempts, IS_CURRENT).where(stage_runs.c.phase.in_(ACTIVE_PHASES))
            active_stages = (await connection.execute(active)).all()
        self.samples += 1
        self.check(runs, stages, active_stages)
        self.unfinished = sum(row.status not in RUN_FINAL for row in runs)
        self.events = sum(row.last_event_seq for row in runs)

    def check(self, runs: Sequence[Row], stages: Sequence[Row], active_stages: Sequence[Row]) -> None:
        """Check rows of the same moment; ``active_stages`` has the run and the host of each active stage run."""
        self._check_ends([*runs, *stages])
        self._check_limits(runs, active_stages)

    def _check_ends(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.status in RUN_FINAL | STAGE_FINAL and self._final.setdefault(row.id, row) != row:
                self.broken.add(f"{self._final[row.id]} was final and became {row}")

    def _check_limits(self, runs: Sequence[Row], active_stages: Sequence[Row]) -> None:
        running = [row for row in runs if row.status is RunStatus.RUNNING]
        self.most_running = max(self.most_running, len(running))
        if len(running) > self.concurrent_runs:
            self.broken.add(f"{len(running)} runs were RUNNING at the same time")
        keys = Counter(row.concurrency_key for row in running if row.concurrency_key is not None)
        self.broken.update(f"{count} runs of {key} were RUNNING" for key, count in keys.items() if count > 1)
        of_host = Counter(row.host_id for row in active_stages)
        self.most_active = max([self.most_active, *of_host.values()])
        if self.most_active > self.concurrent_stages:
            self.broken.add(f"{self.most_active} stages were active on one host")
        of_run = Counter(row.pipeline_run_id for row in active_stages)
        for row in runs:
            if row.max_concurrent_stages is not None and of_run[row.id] > row.max_concurrent_stages:
                self.broken.add(f"{of_run[row.id]} stages of run {row.id} were active")
