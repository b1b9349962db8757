"""Compares two executions of the same operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from strawberry.types import ExecutionResult

Position = tuple[str | int, ...]


def assert_same(plans: ExecutionResult, core: ExecutionResult) -> None:
    """Assert equal data, with keys in the same order, and equal errors.

    Errors below a position that an error made null may differ: which of several errors comes first depends on timing.
    The specification allows that.
    """
    assert plans.data == core.data
    assert repr(plans.data) == repr(core.data)
    assert visible_errors(plans) == visible_errors(core)
    assert nulled_positions(plans) == nulled_positions(core)


def visible_errors(result: ExecutionResult) -> Counter[Any]:
    """The errors whose own position is in the data."""
    return Counter(
        (error.message, tuple(error.path or ()), tuple(error.locations or ()))
        for error in result.errors or ()
        if nulled_position(result.data, error.path or ()) == tuple(error.path or ())
    )


def nulled_positions(result: ExecutionResult) -> set[Position]:
    """The positions that errors made null."""
    return {nulled_position(result.data, error.path or ()) for error in result.errors or ()}


def nulled_position(data: Any, path: Sequence[str | int]) -> Position:
    """The first null along ``path``."""
    for depth, key in enumerate(path):
        if data is None:
            return tuple(path[:depth])
        data = data[key]
    assert data is None, f"an error at {path}, which is not null"
    return tuple(path)
