"""Learning curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 32


class Curve(NamedTuple):
    """One value per training step."""

    values: Sequence[float]
    colour: str
    dashed: bool = False


def accuracy_chart(curves: Sequence[Curve]) -> str:
    """Curves between the lowest tenth seen and 1."""
    lowest = math.floor(min(min(curve.values) for curve in curves) * 10)
    return _chart(curves, [tenth / 10 for tenth in range(lowest, 11)], scale=float)


def loss_chart(curves: Sequence[Curve]) -> str:
    """Curves on a logarithmic axis of whole powers of ten."""
    lowest = math.floor(math.log10(min(min(curve.values) for curve in curves)))
    highest = math.ceil(math.log10(max(max(curve.values) for curve in curves)))
    return _chart(curves, [10.0**power for power in range(lowest, highest + 1)], scale=math.log10)


def _chart(curves: Sequence[Curve], ticks: Sequence[float], scale: Callable[[float], float]) -> str:
    low, high = scale(ticks[0]), scale(ticks[-1])
    steps = max(len(curve.values) for curve in curves)

    def across(step: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - 1) / max(1, steps - 1)

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - scale(value)) / (high - low)

    parts = [_rule(down(tick), tick) for tick in ticks]
    parts += [f'<text x="{across(at):.1f}" y="{HEIGHT - 10}" class="step">{at}</text>' for at in (1, steps)]
    for curve in curves:
        points = " ".join(f"{across(i):.1f},{down(v):.1f}" for i, v in enumerate(curve.values, start=1))
        dashes = ' stroke-dasharray="4 4"' if curve.dashed else ""
        parts.append(f'<polyline points="{points}" stroke="{curve.colour}"{dashes}/>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _rule(height: float, tick: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
    return line + f'<text x="{LEFT - 8}" y="{height + 4:.1f}" class="tick">{tick:g}</text>'
