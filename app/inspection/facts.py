"""What an inspection finds out, and its limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

MAX_NAMES = 1000
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts about one file; None means unknown.

    ``schema`` lists ``{"name", "type", "nullable"}`` for at most 1000 columns; the types are integer, number,
    boolean, date, datetime, string, and json for nested or mixed values. ``details`` depends on the format.
    ``error`` says why facts are missing; it is no failure of the stage.
    """

    format: str | None = None
    row_count: int | None = None
    column_count: int | None = None
    schema: list[dict[str, Any]] | None = None
    framework: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Unreadable(Exception):
    """The content of the file does not match its name or its first bytes."""


@dataclass(slots=True)
class Budget:
    """CPU time for one file; when it is used up, the inspection returns fewer facts."""

    infer_seconds: float = 4.0
    count_seconds: float = 25.0
    started: float = field(default_factory=time.process_time)

    def may_infer(self) -> bool:
        """Whether there is time to type values; if not, rows are only counted."""
        return time.process_time() - self.started < self.infer_seconds

    def may_count(self) -> bool:
        """Whether there is time to read on; if not, the number of rows stays unknown."""
        return time.process_time() - self.started < self.count_seconds


def clip(name: str) -> str:
    """A text from a file, cut to a length that can be shown."""
    return name if len(name) <= _MAX_NAME_CHARACTERS else name[:_MAX_NAME_CHARACTERS] + "…"
