"""When two executions of the same operation say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from strawberry.types import ExecutionResult

Position = tuple[str | int, ...]


def assert_same(plans: ExecutionResult, core: ExecutionResult) -> None:
    """Equal data, with the keys in the same order, and equal errors.

    Only what lies below a position that became null by an error may differ: which of several errors made it null, and
    what else went wrong there in the meantime, depends on what came first. The specification leaves that open.
    """
    assert plans.data == core.data
    assert repr(plans.data) == repr(core.data)
    assert visible_errors(plans) == visible_errors(core)
    assert nulled_positions(plans) == nulled_positions(core)


def visible_errors(result: ExecutionResult) -> Counter[Any]:
    """All errors whose own position can be seen in the data."""
    return Counter(
        (error.message, tuple(error.path or ()), tuple(error.locations or ()))
        for error in result.errors or ()
        if nulled_position(result.data, error.path or ()) == tuple(error.path or ())
    )


def nulled_positions(result: ExecutionResult) -> set[Position]:
    """The positions which errors made null."""
    return {nulled_position(result.data, error.path or ()) for error in result.errors or ()}


def nulled_position(data: Any, path: Sequence[str | int]) -> Position:
    """The first null on the way along ``path``."""
    for depth, key in enumerate(path):
        if data is None:
            return tuple(path[:depth])
        data = data[key]
    assert data is None, f"an error at {path}, which is not null"
    return tuple(path)
