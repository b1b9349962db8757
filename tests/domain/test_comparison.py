"""Differences between runs: parameters, metrics, columns."""

from __future__ import annotations

import math
from typing import Any

import pytest

from app.domain.comparison import (
    Column,
    SchemaChange,
    deltas,
    differences,
    in_order_of_appearance,
    number,
    schema_change,
)


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([{"lr": 0.1}, {"lr": 0.1}], {}),
        ([{"lr": 0.1}, {"lr": 0.2}], {("lr",): [0.1, 0.2]}),
        ([{"lr": 0.1}, {}], {("lr",): [0.1, None]}),
        ([{"lr": None}, {}, None], {}),
        ([{"lr": 0.1}, None, {"lr": 0.2}], {("lr",): [0.1, None, 0.2]}),
        ([{"lr": 0.1}, None], {}),
        ([None, None], {}),
        ([{"flag": True}, {"flag": 1}], {("flag",): [True, 1]}),
        ([{"n": 1}, {"n": 1.0}], {}),
        ([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}], {("a", "c"): [2, 3]}),
        ([{"a": {"b": 1}}, {"a": 5}], {("a", "b"): [1, None], ("a",): [None, 5]}),
        ([{"layers": [1, 2]}, {"layers": [1, 3]}], {("layers",): [[1, 2], [1, 3]]}),
        ([{"a": {}}, {"a": {"b": 1}}], {("a",): [{}, None], ("a", "b"): [None, 1]}),
        ([{"a.b": 1}, {"a": {"b": 1}}], {("a.b",): [1, None], ("a", "b"): [None, 1]}),
    ],
)
def test_differences_are_listed_with_their_paths(
    documents: list[Any], expected: dict[tuple[str, ...], list[Any]]
) -> None:
    assert differences(documents) == expected


def test_names_keep_the_order_in_which_they_first_appear() -> None:
    assert in_order_of_appearance([["a", "c"], ["a", "b", "c"], []]) == ["a", "c", "b"]


def test_deltas_are_against_the_first_value() -> None:
    assert deltas([1.0, 3.0, None, 0.5]) == [0.0, 2.0, None, -0.5]
    assert deltas([None, 3.0]) == [None, None]


def test_deltas_of_infinite_values_are_infinite_unless_the_values_are_the_same() -> None:
    assert deltas([math.inf, math.inf, 1.0, -math.inf]) == [0.0, 0.0, -math.inf, -math.inf]
    assert deltas([1.0, math.inf]) == [0.0, math.inf]
    assert all(delta is not None and math.isnan(delta) for delta in deltas([math.nan, math.nan, 1.0]))


def test_a_metric_may_be_a_number_that_json_cannot_express() -> None:
    assert math.isnan(number("NaN") or 0)
    assert (number("-Infinity"), number(3), number(2.5)) == (-math.inf, 3.0, 2.5)
    assert [number(value) for value in (None, True, "high", "0.5", "inf", [1], 10**400)] == [None] * 7


def test_a_schema_change_names_added_removed_and_retyped_columns() -> None:
    before = [{"name": "id", "type": "integer"}, {"name": "age", "type": "integer"}, {"name": "city"}]
    after = [{"name": "age", "type": "number"}, {"name": "id", "type": "integer"}, {"name": "zip"}]
    assert schema_change(before, after) == SchemaChange(
        added=(Column("zip", None),),
        removed=(Column("city", None),),
        retyped=((Column("age", "integer"), Column("age", "number")),),
    )
    assert schema_change(before, before) == SchemaChange()


@pytest.mark.parametrize("unknown", [None, {"a": "integer"}, "id"])
def test_an_unknown_schema_gives_no_schema_change(unknown: Any) -> None:
    assert schema_change([], unknown) is None
    assert schema_change(unknown, []) is None
