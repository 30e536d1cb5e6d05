"""Line charts as coordinates for the page's SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_training.report.facts import Curves

# Size in SVG units; small, so that text remains legible on narrow screens.
_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 32
# Largest number of points of a curve; more could not be distinguished on a page.
_POINTS = 160
_MOST_TICKS = 5
# Number of line colours in the style sheet.
_COLOURS = 3


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: of the curve.
        colour: index of its colour.
        dashed: whether it is drawn dashed.
        steps, values: (N,) its points, N > 0.
    """

    name: str
    colour: int
    dashed: bool
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def training_charts(curves: Mapping[str, Curves]) -> list[dict[str, Any]]:
    """Return the charts of a training: losses, and accuracy on held-out frames.

    Args:
        curves: by network, with at least one step each.
    """
    losses, right = [], []
    for number, (name, curve) in enumerate(curves.items()):
        steps = np.arange(1.0, 1.0 + len(curve.losses))
        losses.append(Line(f'{name}, training', number, False, *_averaged(steps, curve.losses)))
        if len(curve.held_out):
            looked, loss, share = curve.held_out.T
            losses.append(Line(f'{name}, held-out frames', number, True, looked, loss))
            right.append(Line(name, number, True, looked, 100 * share))
    charts = [line_chart('Loss (cross-entropy)', losses)]
    if right:
        what = 'Agreement with the pseudo-labels of held-out frames, % of the pixels'
        charts.append(line_chart(what, right))
    return charts


def line_chart(what: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Lay lines out over their steps.

    Args:
        what: title of the chart.
        lines: at least one.
    """
    across = _ticks(max(float(line.steps[-1]) for line in lines))
    up = _ticks(max(float(np.nanmax(line.values)) for line in lines))
    longest, top = across[-1], up[-1]
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / longest, _TOP + height * (1 - value / top)

    return {
        'what': what,
        'rows': [{'y': round(at(0, tick)[1], 1), 'text': f'{tick:g}'} for tick in up],
        'columns': [{'x': round(at(tick, 0)[0], 1), 'text': f'{tick:,.0f}'} for tick in across],
        'lines': [
            {
                'name': line.name,
                'dashed': line.dashed,
                'colour': min(line.colour, _COLOURS - 1),
                'points': ' '.join(
                    '{:.1f},{:.1f}'.format(*at(step, value))
                    for step, value in zip(line.steps.tolist(), line.values.tolist(), strict=True)
                ),
                'end': f'{float(line.values[-1]):.3g}',
            }
            for line in lines
        ],
        'width': _WIDTH,
        'height': _HEIGHT,
        'left': _LEFT,
        'right': _WIDTH - _RIGHT,
    }


def _ticks(largest: float) -> list[float]:
    """Return up to six round numbers from 0 to the first that is not below the largest."""
    largest = max(largest, 1e-9)
    power = 10.0 ** np.floor(np.log10(largest))
    step = next(s for s in (0.2, 0.5, 1.0, 2.0) if largest / (s * power) <= _MOST_TICKS) * power
    return [round(step * n, 12) for n in range(int(np.ceil(largest / step - 1e-9)) + 1)]


def _averaged(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve of means over equal stretches."""
    parts = min(_POINTS, len(values))
    means = [
        np.array([part.mean() for part in np.array_split(array, parts)])
        for array in (steps, values)
    ]
    return means[0], means[1]
