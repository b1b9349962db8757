"""The names of the topics, in one place."""

from __future__ import annotations

from uuid import UUID

RUNS = "runs"
"""Any run changed, or is gone."""

WORK = "work"
"""Supervisors have something to claim or to stop."""

SCHEDULES = "schedules"
"""A schedule may come due earlier than before."""


def run_topic(run_id: UUID) -> str:
    """Events or the status of this run changed."""
    return f"run:{run_id}"


def samples_topic(run_id: UUID) -> str:
    """New resource samples of this run; local only."""
    return f"samples:{run_id}"


def metrics_topic(run_id: UUID) -> str:
    """New metric points of this run; local only."""
    return f"metrics:{run_id}"


def log_topic(stage_run_id: UUID) -> str:
    """The log of this stage run grew; local only."""
    return f"log:{stage_run_id}"
