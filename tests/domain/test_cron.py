"""The times at which cron expressions are due, above all around clock changes."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest

from app.domain.cron import Cron, parse_cron, upcoming
from app.errors import InvalidInput

MINUTE = dt.timedelta(minutes=1)
CHANGES = [
    ("Europe/Berlin", (2026, 3, 29)),
    ("Europe/Berlin", (2026, 10, 25)),
    ("America/New_York", (2026, 3, 8)),
    ("America/New_York", (2026, 11, 1)),
    ("Australia/Lord_Howe", (2026, 4, 5)),  # by half an hour
    ("Australia/Lord_Howe", (2026, 10, 4)),
    ("America/Havana", (2026, 3, 8)),  # midnight is skipped
    ("Antarctica/Troll", (2026, 10, 25)),  # by two hours
    ("Pacific/Chatham", (2026, 4, 5)),  # at a quarter to
    ("Pacific/Apia", (2011, 12, 30)),  # a whole day is skipped
    ("Africa/Casablanca", (2026, 2, 15)),
    ("Asia/Kolkata", (2026, 10, 25)),  # never
]
FIXED = ["30 2 * * *", "0 2,3 * * *", "15,45 1-3 * * *", "0 0 * * *", "10-40/10 0-3 * * *", "59 23 * * *"]
FOLLOWING = ["*/15 * * * *", "0 * * * *", "*/30 1-3 * * *", "*/15 0 * * *", "30 */2 * * *", "*/7 2 * * *"]


def moments(expression: str, zone: str, start: str, end: str) -> list[str]:
    """Local times with their offsets, from after ``start`` until ``end``, both UTC."""
    first, last = (dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in (start, end))
    found = takewhile(lambda moment: moment <= last, Cron(expression, zone).after(first))
    return [moment.astimezone(ZoneInfo(zone)).strftime("%d. %H:%M%z") for moment in found]


def test_a_skipped_fixed_time_is_due_right_after_the_gap() -> None:
    found = moments("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", "2026-03-30T12:00")
    assert found == ["28. 02:30+0100", "29. 03:00+0200", "30. 02:30+0200"]


def test_two_fixed_times_in_one_gap_are_due_once() -> None:
    found = moments("15,45 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00")
    assert found == ["29. 03:00+0200"]


def test_a_repeated_fixed_time_is_due_once() -> None:
    found = moments("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00")
    assert found == ["25. 02:30+0200", "26. 02:30+0100"]


def test_a_repeated_fixed_time_is_not_due_again_after_its_first_occurrence() -> None:
    found = moments("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45", "2026-10-26T12:00")
    assert found == ["26. 02:30+0100"]


def test_an_interval_continues_through_a_repeated_hour_and_omits_a_skipped_one() -> None:
    autumn = moments("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59", "2026-10-25T02:00")
    spring = moments("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T01:30")
    assert autumn == [
        "25. 02:00+0200",
        "25. 02:30+0200",
        "25. 02:00+0100",
        "25. 02:30+0100",
        "25. 03:00+0100",
    ]
    assert spring == ["29. 01:30+0100", "29. 03:00+0200", "29. 03:30+0200"]


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_the_moments_equal_those_of_a_search_minute_by_minute(zone: str, day: tuple[int, int, int]) -> None:
    chance = random.Random(f"{zone}{day}")
    for expression in FIXED + FOLLOWING:
        start = dt.datetime(*day, tzinfo=dt.UTC) - dt.timedelta(hours=20, minutes=-chance.randrange(2400))
        end = start + dt.timedelta(hours=40)
        expected = sorted(by_the_clock(expression, ZoneInfo(zone), start, end))
        found = list(islice(Cron(expression, zone).after(start), len(expected) + 1))
        assert found[:-1] == expected, expression
        assert found[-1] > end


def by_the_clock(expression: str, zone: ZoneInfo, start: dt.datetime, end: dt.datetime) -> set[dt.datetime]:
    minutes, hours = (numbers(field, top) for field, top in zip(expression.split(), (59, 23), strict=False))

    def matches(time: dt.datetime) -> bool:
        return time.minute in minutes and time.hour in hours

    every_minute = [start + n * MINUTE for n in range(1, int((end - start) / MINUTE) + 1)]
    if expression in FOLLOWING:
        return {moment for moment in every_minute if matches(moment.astimezone(zone))}
    found = set()
    for time in islice(every_minute_of_calendar(start.date()), 5 * 1440):
        if matches(time):
            shown = time
            while (
                shown.replace(tzinfo=zone).astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != shown
            ):
                shown += MINUTE
            found.add(shown.replace(tzinfo=zone).astimezone(dt.UTC))
    return {moment for moment in found if start < moment <= end}


def every_minute_of_calendar(day: dt.date) -> Iterator[dt.datetime]:
    time = dt.datetime.combine(day, dt.time()) - dt.timedelta(days=1)
    while True:
        yield time
        time += MINUTE


def numbers(field: str, top: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        low, high = (0, top) if span == "*" else (int(first), int(last or first))
        found |= set(range(low, high + 1, int(step or 1)))
    return found


def test_the_latest_moments_are_found_however_long_ago_the_first_was() -> None:
    now = dt.datetime(2026, 11, 23, 12, 0, 30, tzinfo=dt.UTC)
    every_minute = Cron("* * * * *", "UTC")
    found = every_minute.latest_between(now - dt.timedelta(days=3650), now, 3)
    assert [moment.strftime("%H:%M") for moment in found] == ["11:58", "11:59", "12:00"]
    yearly = Cron("0 0 1 1 *", "UTC").latest_between(now - dt.timedelta(days=1500), now, 10)
    assert [moment.year for moment in yearly] == [2023, 2024, 2025, 2026]
    noon = now.replace(second=0)
    assert every_minute.latest_between(noon, noon, 10) == [noon]


def test_upcoming_moments_begin_with_the_one_that_is_known() -> None:
    noon = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    daily = Cron("0 12 * * *", "UTC")
    assert [moment.day for moment in upcoming(daily, noon, 3)] == [23, 24, 25]
    assert upcoming(daily, noon, 0) == ()


@pytest.mark.parametrize(
    ("cron", "zone", "messages"),
    [
        ("* * * *", "UTC", ["five fields"]),
        ("* * * * * *", "UTC", ["five fields"]),
        ("@daily", "UTC", ['write "0 0 * * *"']),
        ("61 * * * *", "UTC", ["its minute is not valid; use 0-59"]),
        ("0 24 * * *", "UTC", ["its hour"]),
        ("0 0 * * FOO", "UTC", ["its day-of-week is not valid; use 0-7 or SUN-SAT"]),
        ("0 0 30 2 *", "UTC", ["no date ever matches it; loosen its day-of-month, month"]),
        ("0 0 31 FEB,4,6 *", "UTC", ["no date ever matches"]),
        ("0 0 32 2 *", "UTC", ["its day-of-month is not valid; use 1-31"]),
        ("0 0 31 2 9", "UTC", ["its day-of-week"]),
        ("0 0 31 13 *", "UTC", ["its month"]),
        ("0 0 */31 2 1L", "UTC", ["no date ever matches"]),
        ("0 0 * * *", "Europe/Berln", ["did you mean 'Europe/Berlin'"]),
        ("0 0 * * *", "utc", ["did you mean 'UTC'"]),
        ("0 0 * * *", "../../etc/passwd", ["write it like 'Europe/Berlin'"]),
        ("0 0 * * *", "", ["not an IANA time zone"]),
        ("1 2 3", "Mars/Base", ["five fields", "not an IANA time zone"]),
        ("9" * 5000 + " * * * *", "x" * 5000, ["five fields", "not an IANA time zone"]),
    ],
)
def test_a_wrong_expression_or_zone_is_refused_with_the_fix(
    cron: str, zone: str, messages: list[str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_cron(cron, zone)
    problems = caught.value.problems
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert message in problem.message
        assert len(problem.message) < 300
        assert problem.path in (("cron",), ("timeZone",))


def test_white_space_in_an_expression_is_normalised() -> None:
    assert parse_cron("  30   2 * *  MON-FRI ", "Europe/Berlin") == Cron("30 2 * * MON-FRI", "Europe/Berlin")
