"""Reports of a stage are read tolerantly, within limits, and in a form that PostgreSQL can store."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.stage_reports import (
    METRIC_LINE_LIMIT_BYTES,
    RESULT_LIMIT_BYTES,
    MetricPoint,
    parse_final_metrics,
    parse_metric_line,
    parse_metric_lines,
    parse_stage_result,
)
from app.domain.text import clean_json, clean_text
from app.errors import DomainError, InvalidInput


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b'{"name": "loss", "value": 0.5, "step": 3}', MetricPoint("loss", 3, 0.5)),
        (b'{"name": "loss", "value": 1}', MetricPoint("loss", 0, 1.0)),
        (b'{"name": "loss", "value": 1, "step": 2.0}\n', MetricPoint("loss", 2, 1.0)),
        (b'{"name": "loss", "value": Infinity, "step": null}', MetricPoint("loss", 0, math.inf)),
        (b'{"name": "loss", "value": "-Infinity"}', MetricPoint("loss", 0, -math.inf)),
        (b'{"name": "nul\\u0000", "value": 1}', MetricPoint("nul\ufffd", 0, 1.0)),
        (b'{"name": "x", "value": 1, "extra": []}', MetricPoint("x", 0, 1.0)),
        (
            b'{"name": "x", "value": 1, "at": 1790000000.5}',
            MetricPoint("x", 0, 1.0, datetime.fromtimestamp(1790000000.5, UTC)),
        ),
        (
            b'{"name": "x", "value": 1, "at": "2026-11-23T10:00:00"}',
            MetricPoint("x", 0, 1.0, datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ),
    ],
)
def test_a_metric_line_is_read(line: bytes, point: MetricPoint) -> None:
    assert parse_metric_line(line) == point


@pytest.mark.parametrize("value", [b"NaN", b'"NaN"'])
def test_not_a_number_is_a_value(value: bytes) -> None:
    point = parse_metric_line(b'{"name": "loss", "value": ' + value + b"}")
    assert point is not None
    assert math.isnan(point.value)


@pytest.mark.parametrize(
    "line",
    [
        b"loss 0.5",
        b"[]",
        b"7",
        b"{}",
        b'{"name": "loss"}',
        b'{"value": 1}',
        b'{"name": "", "value": 1}',
        b'{"name": 7, "value": 1}',
        b'{"name": "loss", "value": "0.5"}',
        b'{"name": "loss", "value": true}',
        b'{"name": "loss", "value": null}',
        b'{"name": "loss", "value": [1]}',
        b'{"name": "loss", "value": 1, "step": 1.5}',
        b'{"name": "loss", "value": 1, "step": "1"}',
        b'{"name": "loss", "value": 1, "step": NaN}',
        b'{"name": "loss", "value": 1, "step": 9223372036854775808}',
        b'{"name": "loss", "value": 1, "at": 1e300}',
        b'{"name": "loss", "value": 1, "at": "yesterday"}',
        b'{"name": "loss", "value": 1, "at": "0001-01-01T00:00:00+14:00"}',
        b'{"name": "loss", "value": 1, "at": "9999-12-31T23:59:59-14:00"}',
        b'{"name": "loss", "value": 1' + b"0" * 400 + b"}",
        b'{"name": "loss", "value": 1' + b"0" * 5000 + b"}",
        b'{"name": "' + b"x" * 256 + b'", "value": 1}',
        b'{"name": "loss", "value": 1, "x": "' + b"x" * METRIC_LINE_LIMIT_BYTES + b'"}',
        b'{"name": "\xff", "value": 1}',
        b"[" * 60_000,
    ],
)
def test_an_unreadable_line_is_none_and_never_an_error(line: bytes) -> None:
    assert parse_metric_line(line) is None


def test_bad_lines_are_counted() -> None:
    good = b'{"name": "a", "value": 1}\n'
    found = parse_metric_lines([good, b"\n", b"bad\n", good])
    assert len(found.points) == 2
    assert found.bad_line_count == 1


def test_final_metrics_are_the_numbers() -> None:
    text = (
        '{"accuracy": 0.9, "count": 3, "bad": NaN, "spelled": "Infinity", "text": "x", "ok": true, "l": []}'
    )
    found = parse_final_metrics(text)
    assert math.isnan(found.pop("bad"))
    assert found == {"accuracy": 0.9, "count": 3.0, "spelled": math.inf}


def test_a_result_is_one_clean_object() -> None:
    assert parse_stage_result(b'{"a": [1, {"b": NaN}], "s": "\\ud800"}') == {
        "a": [1, {"b": "NaN"}],
        "s": "\ufffd",
    }


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"null", b"{", b'{"a": "' + b"x" * RESULT_LIMIT_BYTES + b'"}', b"\xff\xfe"]
)
def test_an_invalid_result_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"stage_result\.json: "):
        parse_stage_result(data)


def test_only_characters_that_postgresql_refuses_are_replaced() -> None:
    assert clean_text("a\x00b\udcffc\U0001f427\u00e9\x01") == "a\ufffdb\ufffdc\U0001f427\u00e9\x01"


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ({"k\x00": ("x\x00", 1)}, {"k\ufffd": ["x\ufffd", 1]}),
        ([math.nan, math.inf, -math.inf, 1.5], ["NaN", "Infinity", "-Infinity", 1.5]),
        ([True, None, 10**15], [True, None, 10**15]),
        ({1: 2}, {"1": 2}),
        ({"n": 2**70, "m": -(2**63) - 1}, {"n": str(2**70), "m": str(-(2**63) - 1)}),
        ([2**63 - 1, True], [2**63 - 1, True]),
    ],
)
def test_json_is_cleaned_at_every_level(value: Any, cleaned: Any) -> None:
    assert clean_json(value) == cleaned


def test_endlessly_nested_json_is_refused() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(DomainError, match="nested deeper than 64 levels"):
        clean_json(value)
