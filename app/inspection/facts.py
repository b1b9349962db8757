"""What an inspection finds out, and within which bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

MAX_NAMES = 1000
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts about one file; ``None`` is: not known.

    ``schema`` lists ``{"name", "type", "nullable"}`` for at most 1000 columns; the types are integer, number,
    boolean, date, datetime, string, and json for nested or mixed values. ``details`` depends on the format.
    ``error`` says why nothing (more) is known; it is never the fault of the stage.
    """

    format: str | None = None
    row_count: int | None = None
    column_count: int | None = None
    schema: list[dict[str, Any]] | None = None
    framework: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Unreadable(Exception):
    """The file is not what its name or its first bytes promise."""


@dataclass(slots=True)
class Budget:
    """How much CPU time one file may take before its inspection settles for less."""

    infer_seconds: float = 4.0
    count_seconds: float = 25.0
    started: float = field(default_factory=time.process_time)

    def may_infer(self) -> bool:
        """Whether there is time to look at values; else rows are only counted."""
        return time.process_time() - self.started < self.infer_seconds

    def may_count(self) -> bool:
        """Whether there is time to go on reading; else the number of rows stays unknown."""
        return time.process_time() - self.started < self.count_seconds


def clip(name: str) -> str:
    """A name from a file, short enough to be shown."""
    return name if len(name) <= _MAX_NAME_CHARACTERS else name[:_MAX_NAME_CHARACTERS] + "…"
