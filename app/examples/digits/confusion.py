"""Draws a confusion matrix: correct answers blue, errors red, shaded by their share of the row."""

from __future__ import annotations

from typing import Any

import numpy as np
from pictures import GREY, INK, RULE, WHITE, Canvas, Colour, shade

BLUE, RED, EMPTY = (29, 78, 216), (220, 38, 38), (246, 248, 251)
CELL, GAP = 64, 4
LEFT, TOP, RIGHT, BOTTOM = 104, 128, 132, 96
FAINTEST = 0.12


def draw_confusion(matrix: np.ndarray[Any, Any], title: str, subtitle: str) -> Canvas:
    """Rows are the actual classes, columns the predicted ones; the last column is the recall."""
    classes = len(matrix)
    side = classes * CELL
    canvas = Canvas(LEFT + side + RIGHT, TOP + side + BOTTOM)
    middle = LEFT + side // 2
    canvas.text(middle, 40, title, scale=3)
    canvas.text(middle, 84, subtitle, GREY)
    canvas.text(28, TOP + side // 2, "actual digit", GREY, upwards=True)
    canvas.text(middle, TOP + side + 68, "predicted digit", GREY)
    canvas.text(LEFT + side + 66, TOP - 22, "recall", GREY)
    for actual, row in enumerate(matrix):
        _draw_row(canvas, actual, row)
    return canvas


def _draw_row(canvas: Canvas, actual: int, row: np.ndarray[Any, Any]) -> None:
    top = TOP + actual * CELL
    centre = top + CELL // 2
    shares = row / max(1, row.sum())
    for predicted, count in enumerate(row):
        left = LEFT + predicted * CELL
        background, ink = _colours(count, shares[predicted], right=predicted == actual)
        canvas.fill(left + GAP // 2, top + GAP // 2, CELL - GAP, CELL - GAP, background)
        if count:
            canvas.text(left + CELL // 2, centre, str(count), ink, scale=3)
    canvas.text(LEFT - 22, centre, str(actual), scale=3)
    canvas.text(LEFT + actual * CELL + CELL // 2, TOP + len(row) * CELL + 28, str(actual), scale=3)
    side = LEFT + len(row) * CELL
    canvas.fill(side + 14, top + CELL - 1, RIGHT - 28, 1, RULE)
    canvas.text(side + 66, centre, f"{shares[actual]:.0%}")


def _colours(count: int, share: float, right: bool) -> tuple[Colour, Colour]:
    if not count:
        return EMPTY, INK
    # Errors are rare: the square root spreads their shades, the square those of the correct answers.
    strength = FAINTEST + (1 - FAINTEST) * (share**2 if right else share**0.5)
    return shade(BLUE if right else RED, strength), WHITE if strength > 0.5 else INK
