"""The metrics of a stage as text, whatever it reported."""

from __future__ import annotations

from typing import Any

import pytest

from app.client.progress import metrics_text


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"accuracy": 0.97312, "rows": 1077}, "accuracy 0.9731, rows 1077"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "a 1, b 2, c 3"),
        (
            {"loss": "NaN", "best": "-Infinity", "worst": "Infinity"},
            "loss NaN, best -Infinity, worst Infinity",
        ),
        ({"note": "high", "flag": True, "nested": {}, "none": None, "loss": 2.5}, "loss 2.5"),
        ({"huge": 10**400, "loss": 1}, "loss 1"),
        (None, ""),
        (["loss"], ""),
    ],
)
def test_the_first_three_numbers_are_shown_even_those_that_json_cannot_express(
    metrics: Any, text: str
) -> None:
    assert metrics_text(metrics) == text
