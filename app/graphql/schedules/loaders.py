"""Loads schedules."""

from __future__ import annotations

from functools import cached_property

from app.database.reads import selections
from app.database.reads.pages import Window
from app.database.tables import schedules
from app.graphql.schedules.types import Schedule
from app.graphql.shared.loading import LoaderFactory, NodeLoader, PageLoader


class ScheduleLoaders(LoaderFactory):
    """Loads schedules."""

    @cached_property
    def schedule_by_id(self) -> NodeLoader[Schedule]:
        return self._node(Schedule, selections.SCHEDULES, "id")

    def schedules_by_pipeline(self, window: Window) -> PageLoader[Schedule]:
        name = ("schedules", window)
        return self._page(Schedule, selections.SCHEDULES, schedules.c.pipeline_id, window, name)
