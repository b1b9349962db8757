"""The kinds of events in the history of a run, in the past tense."""

from __future__ import annotations

import enum

ENGINE = "engine"
"""The actor of an event that the engine caused by itself."""


class EventKind(enum.StrEnum):
    """What can happen to a run."""

    RUN_QUEUED = "RUN_QUEUED"
    RUN_STARTED = "RUN_STARTED"
    RUN_CANCEL_REQUESTED = "RUN_CANCEL_REQUESTED"
    RUN_FINISHED = "RUN_FINISHED"
    STAGE_READIED = "STAGE_READIED"
    STAGE_CLAIMED = "STAGE_CLAIMED"
    STAGE_STARTED = "STAGE_STARTED"
    STAGE_STOP_REQUESTED = "STAGE_STOP_REQUESTED"
    STAGE_COLLECTING = "STAGE_COLLECTING"
    STAGE_RETRY_SCHEDULED = "STAGE_RETRY_SCHEDULED"
    STAGE_FINISHED = "STAGE_FINISHED"
    ARTIFACT_STORED = "ARTIFACT_STORED"
