"""Reads what a stage reports: metric points while it runs, its final metrics, its result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.attempts import STAGE_RESULT_FILE
from app.domain.text import NAMED_NUMBERS, clean_text, read_json_object
from app.domain.units import BYTES_PER_MB

METRIC_LINE_LIMIT_BYTES = 64 << 10
RESULT_LIMIT_BYTES = BYTES_PER_MB
_NAME_LIMIT = 255
_BIGINT = 2**63


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of a metric; ``at`` is ``None`` if the stage gave no time."""

    name: str
    step: int
    value: float
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MetricLines:
    """The points found in some lines, and the number of lines that could not be read."""

    points: tuple[MetricPoint, ...]
    bad_line_count: int


def parse_metric_lines(lines: Iterable[bytes]) -> MetricLines:
    """The points in complete lines of ``metrics.jsonl``. Blank lines are skipped, unreadable ones are counted."""
    points: list[MetricPoint] = []
    bad = 0
    for line in lines:
        if not line.strip():
            continue
        point = parse_metric_line(line)
        if point is None:
            bad += 1
        else:
            points.append(point)
    return MetricLines(tuple(points), bad)


def parse_metric_line(line: bytes) -> MetricPoint | None:
    """The point in ``{"name": "loss", "value": 0.3, "step": 7, "at": 1790000000.5}``; ``None`` if unreadable.

    ``value`` may also be NaN, Infinity or -Infinity, as a JSON token or a text. ``step`` is a whole number, by default
    0. ``at`` is optional: seconds since the epoch, or ISO 8601.
    """
    if len(line) > METRIC_LINE_LIMIT_BYTES:
        return None
    try:
        raw = json.loads(line)
        name, step, value, at = raw["name"], raw.get("step"), raw["value"], raw.get("at")
        if not isinstance(name, str) or not 0 < len(name) <= _NAME_LIMIT:
            return None
        return MetricPoint(clean_text(name), _step(step), _number(value), _instant(at))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError):
        return None


def _step(value: Any) -> int:
    if value is None:
        return 0
    number = _number(value)
    if not number.is_integer() or not -_BIGINT <= int(value) < _BIGINT:
        raise ValueError("not a whole number of 64 bits")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, str):
        return NAMED_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        instant = datetime.fromisoformat(value)
        # Near the ends of the calendar a time may have no equivalent in UTC: OverflowError.
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    return datetime.fromtimestamp(_number(value), UTC)


def parse_final_metrics(data: str | bytes) -> dict[str, float]:
    """The numbers in a ``metrics.json`` by name; other values are ignored.

    Raises ``InvalidInput`` if it is no JSON object or larger than 1 MiB.
    """
    raw = read_json_object(data, name="metrics.json", max_bytes=RESULT_LIMIT_BYTES)
    return {name: number for name, value in raw.items() if (number := _number_or_none(value)) is not None}


def _number_or_none(value: Any) -> float | None:
    try:
        return _number(value)
    except (TypeError, KeyError, OverflowError):
        return None


def parse_stage_result(data: str | bytes) -> dict[str, Any]:
    """The JSON object in ``stage_result.json``. Raises ``InvalidInput`` if it is none or larger than 1 MiB."""
    return read_json_object(data, name=STAGE_RESULT_FILE, max_bytes=RESULT_LIMIT_BYTES)
