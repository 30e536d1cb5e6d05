"""Curves as the places of lines and points, for the page's SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_training.report.facts import Curves

# Small units, so that the letters are still legible where the screen is narrow.
_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 32
# Points of a drawn curve: more could not be told apart on a page.
_POINTS = 160


def line_chart(curves: Mapping[str, Curves]) -> dict[str, Any]:
    """Lay losses out over their step; those of training are averaged down to what can be seen.

    Args:
        curves: by network, with at least one step each.
    """
    lines = {
        name: (np.arange(1.0, 1.0 + len(curve.losses)), curve.losses)
        for name, curve in curves.items()
    }
    averaged = {name: _averaged(*line) for name, line in lines.items()}
    drawn = [(name, False, *line) for name, line in averaged.items()]
    drawn += [
        (name, True, curve.validation_steps, curve.validation)
        for name, curve in curves.items()
        if len(curve.validation)
    ]
    longest = max(float(steps[-1]) for _, _, steps, _ in drawn)
    top = max(float(np.nanmax(values)) for _, _, _, values in drawn) or 1.0
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + width * step / max(longest, 1), _TOP + height * (1 - value / top)

    grid = [
        {
            'x': round(at(share * longest, 0)[0], 1),
            'y': round(at(0, share * top)[1], 1),
            'value': f'{share * top:.2f}',
            'step': f'{round(share * longest):,}',
        }
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    order = list(curves)
    return {
        'grid': grid,
        'curves': [
            {
                'name': name,
                'held_out': held_out,
                'colour': order.index(name),
                'points': ' '.join(
                    '{:.1f},{:.1f}'.format(*at(step, value))
                    for step, value in zip(steps.tolist(), values.tolist(), strict=True)
                ),
                'end': float(values[-1]),
            }
            for name, held_out, steps, values in drawn
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
