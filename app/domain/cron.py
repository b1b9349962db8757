"""The times at which a cron expression is due in a time zone.

A change to or from daylight saving time is handled as by Debian's cron: a fixed time that is skipped is due right after
the gap, and one that occurs twice is due the first time only. An expression whose minute or hour begins with ``*`` is
due at every matching wall-clock time. All moments are UTC.
"""

from __future__ import annotations

import datetime as dt
import difflib
import zoneinfo
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, islice, takewhile

from cronsim import CronSim, CronSimError

from app.errors import DomainError, InvalidInput

EXPRESSION_LENGTH_LIMIT = 200

_FIELDS = "minute hour day-of-month month day-of-week"
_EXAMPLE = '"30 2 * * MON-FRI" is 02:30 from Monday to Friday'
_DAY = "day-of-month"
_RANGES = {
    "minute": "0-59",
    "hour": "0-23",
    _DAY: "1-31, L for the last one",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, MON#2 for the second Monday, 5L for the last Friday",
}
_NO_DATE = "no date ever matches it; loosen its day-of-month, month or day-of-week"
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MINUTE = dt.timedelta(minutes=1)
_LONGEST_REPETITION = dt.timedelta(hours=3)
"""No zone sets its clocks back by more."""
_FIRST_LOOK_BACK = dt.timedelta(hours=1)
_LOOK_BACK_GROWTH = 8


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields in an IANA time zone; made by ``parse_cron``, which checks both."""

    expression: str
    time_zone: str

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """All due moments later than ``moment``, each once, in order."""
        last = moment.astimezone(dt.UTC)
        zone = zoneinfo.ZoneInfo(self.time_zone)
        shown = last.astimezone(zone).replace(tzinfo=None)
        matches = CronSim(self.expression, shown - _LONGEST_REPETITION)
        translated = _as_shown if self._follows_the_clock else _once
        for due in translated(matches, zone):
            if due > last:
                yield due
                last = due

    @property
    def _follows_the_clock(self) -> bool:
        minute, hour, *_ = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def next_after(self, moment: dt.datetime) -> dt.datetime:
        """The first due moment later than ``moment``."""
        return next(self.after(moment))

    def latest_between(self, first: dt.datetime, last: dt.datetime, count: int) -> list[dt.datetime]:
        """The last ``count`` due moments from ``first`` to ``last``, both included, oldest first."""
        look_back = _FIRST_LOOK_BACK
        while True:
            begin = max(first, last - look_back)
            moments = self.after(begin - dt.timedelta(microseconds=1))
            found = deque(takewhile(lambda moment: moment <= last, moments), maxlen=count)
            if len(found) == count or begin == first:
                return list(found)
            look_back *= _LOOK_BACK_GROWTH


@lru_cache(maxsize=1024)
def upcoming(cron: Cron, first: dt.datetime, count: int) -> tuple[dt.datetime, ...]:
    """``first``, which is due, and the due moments that follow: ``count`` in all."""
    return tuple(islice(chain((first,), cron.after(first)), count))


def parse_cron(expression: str, time_zone: str) -> Cron:
    """The checked expression. Raises ``InvalidInput`` with the problems of ``cron``, ``timeZone`` or both."""
    messages = {"cron": _problem_of_expression(expression), "timeZone": _problem_of_zone(time_zone)}
    problems = [
        DomainError(f"{name}: {message}", path=(name,)) for name, message in messages.items() if message
    ]
    if problems:
        raise InvalidInput(problems)
    return Cron(" ".join(expression.split()), time_zone)


def _problem_of_expression(expression: str) -> str | None:
    fields = expression.split()
    if nickname := _NICKNAMES.get(expression.strip().lower()):
        return f'nicknames are not supported; write "{nickname}"'
    if len(fields) != len(_FIELDS.split()) or len(expression) > EXPRESSION_LENGTH_LIMIT:
        return f'must be five fields, "{_FIELDS}"; for example {_EXAMPLE}'
    try:
        next(CronSim(expression, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))
    except CronSimError as error:
        return _wrong_field(str(error), fields)
    except StopIteration:
        return _NO_DATE
    return None


def _wrong_field(message: str, fields: Sequence[str]) -> str:
    field = message.removeprefix("Bad ")
    if field == _DAY and _is_a_day_of_some_month(fields):
        return _NO_DATE
    known = _RANGES.get(field)
    return f"its {field} is not valid; use {known}, or *, lists and steps" if known else message


def _is_a_day_of_some_month(fields: Sequence[str]) -> bool:
    """Whether the day is valid by itself: ``cronsim`` also rejects it if only the given months are too short."""
    minute, hour, day, _, weekday = fields
    try:
        CronSim(f"{minute} {hour} {day} * {weekday}", dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
    except CronSimError:
        return False
    return True


def _problem_of_zone(time_zone: str) -> str | None:
    if time_zone in _zone_names():
        return None
    folded = {name.casefold(): name for name in _zone_names()}
    close = difflib.get_close_matches(time_zone[:100].casefold(), folded, 1)
    hint = f"did you mean {folded[close[0]]!r}?" if close else "write it like 'Europe/Berlin' or 'UTC'"
    return f"{time_zone[:100]!r} is not an IANA time zone; {hint}"


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _once(matches: Iterable[dt.datetime], zone: dt.tzinfo) -> Iterator[dt.datetime]:
    """Each match once: a repeated time at its first occurrence, a skipped time right after the gap."""
    for match in matches:
        while not _is_shown(match, zone):
            match += _MINUTE
        yield _moment(match, zone)


def _as_shown(matches: Iterable[dt.datetime], zone: dt.tzinfo) -> Iterator[dt.datetime]:
    """Each match as often as it occurs on the wall clock: twice, once or never."""
    repeated: deque[dt.datetime] = deque()
    for match in matches:
        first, second = _moment(match, zone), _moment(match, zone, fold=1)
        while repeated and repeated[0] < first:
            yield repeated.popleft()
        if _is_shown(match, zone):
            yield first
            if second > first:
                repeated.append(second)


def _moment(shown: dt.datetime, zone: dt.tzinfo, *, fold: int = 0) -> dt.datetime:
    return shown.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC)


def _is_shown(time: dt.datetime, zone: dt.tzinfo) -> bool:
    """Whether the wall clock shows this time: it skips some when it is set forward."""
    return _moment(time, zone).astimezone(zone).replace(tzinfo=None, fold=0) == time
