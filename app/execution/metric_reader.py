"""Reads the metrics that an attempt appends to a file, and sums them up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from anyio import to_thread

from app.domain.stage_reports import METRIC_LINE_LIMIT_BYTES, MetricLines, MetricPoint, parse_metric_lines

READ_BYTES = 1 << 20
NAMES_LIMIT = 1000
"""Metrics whose last value is remembered; of others only the points are stored."""


_NOTHING = MetricLines((), 0)


class MetricReader:
    """Reads the metrics of one attempt in order, each byte once.

    ``read_bytes`` reads from an offset, at most so many bytes. The bytes before ``offset`` were read by an earlier
    reader: they count for the sums, and their points are not returned again.
    """

    def __init__(self, read_bytes: Callable[[int, int], Awaitable[bytes]], offset: int) -> None:
        self.last_points: dict[str, MetricPoint] = {}
        """By name of the metric, the latest point of its highest step."""
        self.unreadable_lines = 0
        self._read_bytes = read_bytes
        self._read_before = offset
        self._recalled = 0

    async def read(self, offset: int, *, to_the_end: bool) -> tuple[tuple[MetricPoint, ...], int]:
        """The points from ``offset`` on, and the next offset; ``to_the_end`` takes an unfinished last line."""
        await self._recall()
        lines, size = await self._take(offset, READ_BYTES, to_the_end)
        return lines.points, offset + size

    async def _recall(self) -> None:
        """Sums up what an earlier reader has read."""
        while self._recalled < self._read_before:
            _, size = await self._take(self._recalled, self._read_before - self._recalled, to_the_end=True)
            self._recalled += size or self._read_before  # the file has become shorter: there is no more

    async def _take(self, offset: int, limit_bytes: int, to_the_end: bool) -> tuple[MetricLines, int]:
        data = await self._read_bytes(offset, min(limit_bytes, READ_BYTES))
        complete = data.rfind(b"\n") + 1
        is_tail = len(data) < READ_BYTES
        if (to_the_end and is_tail) or (not complete and len(data) > METRIC_LINE_LIMIT_BYTES):
            complete = len(data)
        if not complete:
            return _NOTHING, 0
        # In a thread: a megabyte of lines would block the event loop.
        return await to_thread.run_sync(self._sum_up, data[:complete]), complete

    def _sum_up(self, data: bytes) -> MetricLines:
        lines = parse_metric_lines(data.split(b"\n"))
        self.unreadable_lines += lines.bad_line_count
        self._remember(lines.points)
        return lines

    def _remember(self, points: Iterable[MetricPoint]) -> None:
        for point in points:
            last = self.last_points.get(point.name)
            if last is None and len(self.last_points) >= NAMES_LIMIT:
                continue
            if last is None or point.step >= last.step:
                self.last_points[point.name] = point
