"""Starts the runs of due schedules; any number of servers may do so at the same time."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from app.execution.failures import log_failure
from app.notifications.postgres import PostgresNotifier
from app.notifications.topics import SCHEDULES
from app.services import firing

logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
"""How late a run may be if a notification was lost, or a clock was changed."""


class Scheduler:
    """Starts the runs of all schedules; ``run`` does not return until it is cancelled.

    ``environment`` is the default for schedules without one.
    """

    def __init__(
        self, engine: AsyncEngine, notifier: PostgresNotifier, environment: str | None = None
    ) -> None:
        self._engine = engine
        self._notifier = notifier
        self._environment = environment

    async def run(self) -> None:
        """Runs until it is cancelled; outlives outages of the database."""
        with self._notifier.listen(SCHEDULES) as mailbox:
            while True:
                try:
                    wait_seconds = await self._pass()
                except Exception as error:
                    log_failure(logger, "look at the schedules", error)
                    wait_seconds = RECOVERY_SECONDS
                await mailbox.wait(wait_seconds)

    async def _pass(self) -> float:
        """Starts the runs of due schedules; returns the seconds until the next pass."""
        results = [await self._fire(schedule) for schedule in await firing.due_schedules(self._engine)]
        if not all(results):
            return RECOVERY_SECONDS
        seconds = await firing.seconds_to_next(self._engine)
        return LONGEST_WAIT_SECONDS if seconds is None else max(0.0, min(seconds, LONGEST_WAIT_SECONDS))

    async def _fire(self, schedule: firing.DueSchedule) -> bool:
        """Whether the schedule was served. One that fails does not stop the others."""
        try:
            await firing.fire(self._engine, self._notifier, schedule, self._environment)
        except Exception as error:
            log_failure(logger, f"serve schedule {schedule.id}", error)
            return False
        return True
