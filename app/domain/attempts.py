"""What names one attempt of a stage run, everywhere."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class AttemptKey(NamedTuple):
    """The number fences: what is reported under an older one than the stage run's changes nothing."""

    run_id: UUID
    stage_run_id: UUID
    number: int

    def __str__(self) -> str:
        """The name of the attempt's folder, and of its processes in ``MLP_ATTEMPT_ID``."""
        return f"{self.stage_run_id}.{self.number}"

    @property
    def log_ids(self) -> dict[str, UUID | int]:
        """The ids that log records about the attempt carry."""
        return {"run_id": self.run_id, "stage_run_id": self.stage_run_id, "attempt": self.number}
