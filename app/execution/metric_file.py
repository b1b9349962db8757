"""The file to which an attempt appends its metrics: read piece by piece, and what it says in sum."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.domain.stage_reports import METRIC_LINE_LIMIT_BYTES, MetricLines, MetricPoint, parse_metric_lines
from app.runner.files import read_plain

METRICS = "metrics.jsonl"
READ_BYTES = 1 << 20
NAMES_LIMIT = 1000
"""Metrics whose last value is remembered; of further ones there are the points only."""


class MetricFile:
    """Of one attempt, of which the bytes up to ``offset`` were read before, by this process or by another one."""

    def __init__(self, path: Path, offset: int) -> None:
        self.last_points: dict[str, MetricPoint] = {}
        """Of each metric, by name, the latest point of its highest step."""
        self.unreadable_lines = 0
        self._path = path
        self._read_before = offset
        self._recalled = 0

    def read(self, offset: int, *, to_the_end: bool) -> tuple[tuple[MetricPoint, ...], int]:
        """The points from ``offset`` on and the offset to go on from; ``to_the_end`` takes an unfinished last line.

        Every byte is to be read once, in order.
        """
        self._recall()
        lines, size = self._take(offset, READ_BYTES, to_the_end)
        return lines.points, offset + size

    def _recall(self) -> None:
        """Takes in what was read before."""
        while self._recalled < self._read_before:
            _, size = self._take(self._recalled, self._read_before - self._recalled, to_the_end=True)
            self._recalled += size or self._read_before  # the file has been cut off: that is all there is

    def _take(self, offset: int, limit_bytes: int, to_the_end: bool) -> tuple[MetricLines, int]:
        data = read_plain(self._path, min(limit_bytes, READ_BYTES), offset)
        complete = data.rfind(b"\n") + 1
        is_tail = len(data) < READ_BYTES
        if (to_the_end and is_tail) or (not complete and len(data) > METRIC_LINE_LIMIT_BYTES):
            complete = len(data)
        lines = parse_metric_lines(data[:complete].split(b"\n"))
        self.unreadable_lines += lines.bad_line_count
        self._remember(lines.points)
        return lines, complete

    def _remember(self, points: Iterable[MetricPoint]) -> None:
        for point in points:
            last = self.last_points.get(point.name)
            if last is None and len(self.last_points) >= NAMES_LIMIT:
                continue
            if last is None or point.step >= last.step:
                self.last_points[point.name] = point
