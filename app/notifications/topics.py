"""The topics of notifications."""

from __future__ import annotations

from uuid import UUID

RUNS = "runs"
"""A run was created, changed or deleted."""

WORK = "work"
"""There may be something for supervisors to claim or to stop."""

SCHEDULES = "schedules"
"""The time of a next scheduled run may be earlier than before."""


def run_topic(run_id: UUID) -> str:
    """This run has new events or another status."""
    return f"run:{run_id}"


def samples_topic(run_id: UUID) -> str:
    """This run has new resource samples. Notified in the process that stored them only."""
    return f"samples:{run_id}"


def metrics_topic(run_id: UUID) -> str:
    """This run has new metric points. Notified in the process that stored them only."""
    return f"metrics:{run_id}"


def log_topic(stage_run_id: UUID) -> str:
    """The log of this stage run has grown. Notified in the process that reads it from the stage only."""
    return f"log:{stage_run_id}"
