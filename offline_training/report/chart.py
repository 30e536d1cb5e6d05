"""Curves as the places of lines and points, for the page's SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_training.report.facts import Curves

# Small units, so that the letters are still legible where the screen is narrow.
_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 32
# Points of a drawn curve: more could not be told apart on a page.
_POINTS = 160
# That the style sheet has.
_COLOURS = 3


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: what it shows.
        colour: number of its colour.
        dashed: whether it is.
        steps, values: (N,) its points, N > 0.
    """

    name: str
    colour: int
    dashed: bool
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def training_charts(curves: Mapping[str, Curves]) -> list[dict[str, Any]]:
    """Return the charts of a training: losses, and what is right on held-out frames.

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
        what = 'Pixels of held-out frames that get the class of their pseudo-label, %'
        charts.append(line_chart(what, right))
    return charts


def line_chart(what: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Lay lines out over their steps.

    Args:
        what: is shown.
        lines: at least one.
    """
    longest = max(float(line.steps[-1]) for line in lines)
    top = max(float(np.nanmax(line.values)) for line in lines) or 1.0
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / max(longest, 1), _TOP + height * (1 - value / top)

    grid = [
        {
            'x': round(at(share * longest, 0)[0], 1),
            'y': round(at(0, share * top)[1], 1),
            'value': f'{share * top:.3g}',
            'step': f'{round(share * longest):,}',
        }
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return {
        'what': what,
        'grid': grid,
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
