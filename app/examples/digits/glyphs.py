"""A small stroke font: capitals, digits and signs as 5x7 dots joined to round strokes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

WIDTH, HEIGHT = 5, 7
ADVANCE = WIDTH + 1
STROKE = 0.95

# Each sign is seven rows of five bits, written as hex.
_SIGNS = """
0 0E11111111110E  1 040C040404040E  2 0E11010204081F  3 0E11010601110E  4 02060A121F0202
5 1F101E0101110E  6 0608101E11110E  7 1F010204080808  8 0E11110E11110E  9 0E11110F01020C
A 0E11111F111111  B 1E11111E11111E  C 0E11101010110E  D 1E11111111111E  E 1F10101E10101F
F 1F10101E101010  G 0E11101711110E  H 1111111F111111  I 0E04040404040E  J 0702020202120C
K 11121418141211  L 1010101010101F  M 111B1515111111  N 11191513111111  O 0E11111111110E
P 1E11111E101010  Q 0E11111115120D  R 1E11111E141211  S 0E11100E01110E  T 1F040404040404
U 1111111111110E  V 11111111110A04  W 11111111151B11  X 11110A040A1111  Y 11110A04040404
Z 1F01020408101F  % 18190204081303  . 00000000000004  - 0000000E000000  : 00000400000400
"""
_ROWS = {sign: bytes.fromhex(rows) for sign, rows in re.findall(r"(\S) (\S+)", _SIGNS)}


@cache
def coverage(sign: str, scale: int) -> np.ndarray[Any, Any]:
    """How much of each picture pixel the sign covers, 0 to 1; `scale` is the distance of two dots."""
    dots = {(x, y) for y, row in enumerate(_ROWS[sign]) for x in range(WIDTH) if row >> (WIDTH - 1 - x) & 1}
    rows, columns = np.indices((HEIGHT * scale, WIDTH * scale))
    x, y = (columns + 0.5) / scale - 0.5, (rows + 0.5) / scale - 0.5
    distance = np.min([_distance(x, y, *stroke) for stroke in _strokes(dots)], axis=0)
    cover: np.ndarray[Any, Any] = np.clip((STROKE / 2 - distance) * scale + 0.5, 0, 1)
    return cover


def _strokes(dots: set[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Lines between neighbouring dots; a diagonal only where no corner dot joins the two already."""
    strokes = [(x, y, x, y) for x, y in dots]
    for x, y in dots:
        for dx, dy in ((1, 0), (0, 1), (1, 1), (-1, 1)):
            corner = dx and dy and {(x + dx, y), (x, y + dy)} & dots
            if (x + dx, y + dy) in dots and not corner:
                strokes.append((x, y, x + dx, y + dy))
    return strokes


def _distance(x: Any, y: Any, x0: int, y0: int, x1: int, y1: int) -> Any:
    """The distance of every point from a line of length 0, 1 or the diagonal of a square."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(1, dx * dx + dy * dy), 0, 1)
    return np.hypot(x - x0 - along * dx, y - y0 - along * dy)
