"""The names of an attempt, and of the files it exchanges with the engine."""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID

LOG_FILE = "output.log"
"""The captured output; the name of its artifact, too."""
METRICS_FILE = "metrics.jsonl"
PARAMS_FILE = "params.json"
STAGE_RESULT_FILE = "stage_result.json"
MANIFEST_FILE = "artifacts.json"
FINAL_METRICS_FILES = ("metrics.json", "metrics/metrics.json")
"""In the output folder: the first one that exists holds the final metrics."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9]{1,6}")


class AttemptId(NamedTuple):
    """As text, the name of the attempt's folder, and of its processes in ``MLP_ATTEMPT_ID``."""

    stage_run_id: UUID
    number: int

    def __str__(self) -> str:
        return f"{self.stage_run_id}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> AttemptId | None:
        """The id that is written like this; None for any other text."""
        if _ID.fullmatch(text) is None:
            return None
        stage_run_id, _, number = text.partition(".")
        return cls(UUID(stage_run_id), int(number))


class AttemptKey(NamedTuple):
    """An attempt and its run. Reports of a number older than the stage run's current one change nothing."""

    run_id: UUID
    stage_run_id: UUID
    number: int

    def __str__(self) -> str:
        return str(AttemptId(self.stage_run_id, self.number))

    @property
    def log_ids(self) -> dict[str, UUID | int]:
        """The ids that log records about the attempt carry."""
        return {"run_id": self.run_id, "stage_run_id": self.stage_run_id, "attempt": self.number}
